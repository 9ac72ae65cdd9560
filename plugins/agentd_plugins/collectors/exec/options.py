"""The options of the collector exec."""

from typing import Annotated, Literal

from msgspec import Meta

from agentd.plugin import Config, Duration, Secret, Size


class ExecConfig(Config):
    """Options of the collector exec."""

    command: Annotated[str, Meta(min_length=1, examples=["/usr/local/bin/read-ups"])]
    """The program: a path, taken from ``cwd`` where it is relative, or a name that is looked for in PATH. No shell is
    involved."""
    args: list[str] = []
    """What it is given as arguments, each on its own."""
    mode: Literal["once", "stream"] = "once"
    """``once``: it is run for each collection, and ends. ``stream``: it is run as long as the agent, and tells what it
    has to tell when it likes, or when it is asked; where it ends, it is begun again."""
    format: Literal["prometheus", "openmetrics", "json"] = "prometheus"
    """What it writes to its standard output: Prometheus's text format, OpenMetrics, or JSON lines. In a stream an empty
    line, or ``# EOF``, ends an answer."""
    labels: dict[str, str] = {}
    """Labels on all that it tells, ``{ ups = "rack-1" }`` say: what tells it from other programs of its kind."""
    env: dict[str, Secret] = {}
    """Variables of its environment. Beside these it has ``PATH``, ``HOME`` and ``LANG=C.UTF-8``, and nothing else."""
    inherit_env: list[str] | bool = False
    """Names of variables of the agent's own environment that it has as well; ``true`` for all."""
    cwd: str = "/"
    """The folder in which it runs, and from which relative paths are taken."""
    max_output: Size = Size(1 << 20)
    """How much it may write in one answer before it is killed. Of a stream, no more is read in a second."""
    signal: Literal["none", "stdin"] = "none"
    """How a stream is told that it is asked: by an empty line on its standard input, or not at all."""
    max_age: Duration = Duration(300)
    """How old what a stream told may be. One that is silent for longer, or does not answer for so long, is killed and
    begun again."""
    restart_delay: Duration = Duration(1)
    """How long it takes at most until a stream that has ended is begun again; each time it ends soon, twice as long, up
    to a minute."""

    def __post_init__(self) -> None:
        if not self.cwd.startswith("/"):
            raise ValueError(f"cwd must be a path from the root on, found {self.cwd!r}")
        if self.signal != "none" and self.mode == "once":
            raise ValueError('signal is for mode = "stream": a program that is run once is not asked')
        if self.max_output < 1024:
            raise ValueError('max_output must be at least "1KiB"')
        for name, value in (("max_age", self.max_age), ("restart_delay", self.restart_delay)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be longer than 0s")
        for name in self.env:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"env has {name!r}, which is no name of a variable")

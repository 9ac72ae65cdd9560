"""The options of the collector of robots."""

from typing import Annotated, Literal

import msgspec

from agentd.plugin import Config, Duration, Size
from agentd_plugins.collectors.robots.meaning import Override, meaning, overridden
from agentd_plugins.collectors.robots.protocol import is_robot_id
from agentd_plugins.collectors.robots.signals import SIGNALS

Positive = Annotated[int, msgspec.Meta(ge=1)]


class RobotsConfig(Config):
    """Options of the collector ``robots``."""

    stale_after: Duration = Duration.parse("30s")
    """Age at which a value leaves the exposition, and a robot that says nothing counts as stale."""
    forget_after: Duration = Duration.parse("24h")
    """Silence after which a robot is forgotten. The numbers of its frames are kept."""
    forget_numbers_after: Duration = Duration.parse("90d")
    """Time after which the numbers of its frames are forgotten, too: what it sends again then counts once more."""
    expected_robots: list[str] = []
    """Robots whose absence is a fault: they are shown as down from the start."""
    signal_state: list[str] = []
    """Metrics (``battery_charge_ratio`` say) for which ``robot_signal_state`` tells whether each robot's is live, stale
    or was never seen. Each multiplies with the number of robots."""
    overrides: list[Override] = []
    """What some robots mean by a field, where it is not what the vocabulary says: ``field``, ``robots`` (a pattern),
    and ``metric``, ``scale`` or ``absent`` (values that mean "not known"). Of several for one field
    of a robot the last one counts."""
    diagnostics: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Which diagnostics of ROS are shown, by patterns of their names; each is a series of its robot."""
    plain_reply: Literal["none", "ack", "echo"] = "none"
    """What a client without the subprotocol gets for each frame: nothing, ``{"status": "ok"}``, or what it sent."""
    metrics_published: Literal["off", "query", "frame"] = "off"
    """When ``telemetry.metrics_published`` is said: never, when somebody asks for a robot's metrics, or for frames."""
    metrics_published_every: Duration = Duration.parse("10s")
    """Time between two of these events of a robot, at least."""
    data_received_every: Duration = Duration.parse("5m")
    """The window of ``telemetry.data_received``, an event for each robot that sent something in it; 0 for none."""
    max_robots: Positive = 10_000
    """Robots that are known at once; further ones are refused."""
    max_connections: Positive = 12_000
    """Connections of robots at once."""
    connects_per_second: Positive = 500
    """New connections in a second, with a credential and without each; further ones are asked to come again."""
    max_robot_series: Positive = 200
    """Series that one robot may have: what goes beyond is left out, counted and named."""
    max_frame: Size = Size.parse("256KiB")
    """Size of a frame, at most."""
    rate_limit: Positive = 100
    """Frames in a second that a robot may send on average; further live ones are left out."""
    credit_frames: Positive = 64
    """Numbered frames of a robot that may be under way."""
    credit_bytes: Size = Size.parse("1MiB")
    """Bytes of them."""
    hello_within: Duration = Duration.parse("5s")
    """Time that a robot has for its ``hello``."""
    ping_every: Duration = Duration.parse("20s")
    """Time between two pings to a robot; it has half of that to answer."""

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        wrong = [
            f"{name} must be longer than 0s"
            for name in ("stale_after", "hello_within", "ping_every")
            if not getattr(self, name) > 0
        ]
        if self.forget_after < self.stale_after:
            wrong.append("forget_after must not be shorter than stale_after")
        wrong += [
            f"expected_robots: a robot's id is 1 to 128 of A-Z a-z 0-9 . _ : @ -; found {name!r}"
            for name in self.expected_robots
            if not is_robot_id(name)
        ]
        if len(set(self.expected_robots)) > self.max_robots:
            wrong.append("expected_robots: there are more than max_robots allows")
        wrong += [
            f"signal_state: there is no metric {name!r} in the vocabulary of robots"
            for name in self.signal_state
            if name.removeprefix("robot_") not in SIGNALS
        ]
        for override in self.overrides:
            try:
                if "*" in override.field:
                    raise ValueError(f"name each field itself; in {override.field!r} * stands for nothing")
                overridden(meaning(override.field), override)
            except ValueError as error:
                wrong.append(f"overrides: {error}")
        if wrong:
            raise ValueError("; ".join(wrong))

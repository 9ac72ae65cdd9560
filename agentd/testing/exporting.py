"""One export, as the agent makes it, of which a test looks at what came out."""

import time
from collections.abc import Iterable
from typing import Any

from agentd.calling import called
from agentd.metrics.exposition import Format, Renderer
from agentd.plugin import Clock, Exporter, Family, Snapshot
from agentd.testing.hosts import machine
from agentd.testing.instance import Given, on_machine
from agentd.testing.recorder import Recorder
from agentd.testing.within import DEADLINE, within

__tracebackhide__ = True

EXAMPLE = (Family.gauge("agentd_testing", "Something to carry out.", 1.0),)
"""What an exporter is given where a test says nothing else."""


async def export(exporter: Exporter[Any], snapshot: Snapshot) -> None:
    """Have an exporter that is started carry out a snapshot where the agent would call it: in a worker, or on the
    loop. Raises what the exporter raises.
    """
    await called(exporter.export, exporter.in_worker, snapshot)


async def rendered(
    snapshot: Snapshot, *, format: Format = "text", labels: dict[str, str] | None = None, gzip: bool = False
) -> bytes:
    """Return a snapshot as an exposition, as ``Exporter.render`` does in an agent."""
    body = Renderer(format, labels).render(list(snapshot.families))
    if not gzip:
        return body
    import gzip as library

    return library.compress(body)


def run_exporter(
    plugin: type[Exporter[Any]],
    families: Iterable[Family] = EXAMPLE,
    *,
    config: Given[Any] = None,
    clock: Clock | None = None,
    recorder: Recorder | None = None,
    deadline: float = DEADLINE,
) -> None:
    """Start an exporter, have it carry out these families once, and stop it.

    ``config`` are its options as the configuration has them. It runs in a thread of its own, so this may be called in
    asynchronous tests, too. Raises what the exporter raises; ``Hang``, with the place, where it takes longer than
    ``deadline`` seconds; ``ConfigError`` where the options are wrong.
    """
    snapshot = Snapshot(tuple(families), clock.time() if clock is not None else time.time())

    async def gathered(**_: object) -> Snapshot:
        return snapshot

    async def once() -> None:
        async with on_machine(plugin, paths, config, clock, recorder) as exporter:
            exporter.context.gather, exporter.context.render = gathered, rendered
            await export(exporter, snapshot)

    with machine() as paths:
        within(deadline, f"{plugin.__name__}.export()", once)

"""Asking collectors a single time, without an agent.

Commands import it when they need it: it brings half of the agent with it, which who asks for help need not wait for.
"""

from collections.abc import Callable, Sequence

from agentd import instances
from agentd.config import Instance, Settings
from agentd.events.envelope import Event
from agentd.host import Host
from agentd.instances import Running
from agentd.metrics.gather import Gatherer
from agentd.metrics.workers import Workers
from agentd.plugin import Context, Snapshot
from agentd.registry import Registry


async def once(
    settings: Settings,
    registry: Registry,
    wanted: Sequence[Instance],
    deadline: float,
    emit: Callable[[Event], None] = lambda _event: None,
) -> tuple[Snapshot, list[Running]]:
    """Return what collectors say that are started for this alone, and are stopped again; ``emit`` is given events."""
    host, workers, gatherer = Host(settings.host), Workers(), Gatherer()
    labels = settings.agent.labels
    runnings = instances.build(
        wanted,
        registry,
        lambda one: Context(name=one.key, host=host, labels=labels, in_worker=workers.run, emit=emit),
    )
    for running in runnings:
        await instances.start(running)
        slot = instances.slot_for(running, registry, workers)
        if slot is not None:
            slot.interval = None  # once means now
    gatherer.take(running.slot for running in runnings if running.slot is not None)
    snapshot = await gatherer.gather(deadline=deadline)
    await gatherer.stop()
    for running in runnings:
        await instances.stop(running)
    workers.close()
    return snapshot, runnings

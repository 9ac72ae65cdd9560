"""What a plugin is given beside its options: the time, the machine, and the ways into the agent."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agentd.events.envelope import Event, Record
from agentd.host import Host
from agentd.metrics.family import Snapshot
from agentd.routes import Principal

T = TypeVar("T")


class NotDurable(Exception):
    """Raised by ``commit`` where nothing can be written down now. Whoever waits outside is told to come again."""


class Clock:
    """The time. Tests hand in another."""

    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """Return seconds that never go back, from an arbitrary start."""
    time: Callable[[], float] = staticmethod(time.time)
    """Return seconds since 1970, UTC."""


async def _in_thread(function: Callable[..., T], *args: object) -> T:
    return await asyncio.to_thread(function, *args)


async def _gather_nothing(**_: object) -> Snapshot:
    raise RuntimeError("this context has nothing to gather from: only the agent's own can gather")


def _emit_nowhere(_event: Event) -> None:
    """Lose an event: there is no agent around."""


async def _commit_nowhere(*_: object) -> None:
    raise NotDurable("this context has no journal: only the agent's own has")


async def _follow_nothing(*_: object) -> AsyncIterator[tuple[int, list[Record]]]:
    nothing: tuple[tuple[int, list[Record]], ...] = ()
    for each in nothing:
        yield each


async def _render_nothing(*_: object, **__: object) -> bytes:
    raise RuntimeError("this context cannot render: only the agent's own can")


@dataclass(slots=True, kw_only=True)
class Context:
    """What a plugin is given beside its options. The defaults serve a plugin outside of the agent, in a test say."""

    name: str = "plugin"
    """The instance's name with its kind, ``collectors.loadavg`` say: the ``plugin`` label of ``agentd_*`` metrics."""
    host: Host = field(default_factory=Host)
    clock: Clock = field(default_factory=Clock)
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels of the agent, ``[agent] labels``."""
    deadline: float | None = None
    """When the present collection has to be done, by ``clock.monotonic()``; set before each ``collect()``."""
    in_worker: Callable[..., Awaitable[Any]] = _in_thread
    gather: Callable[..., Awaitable[Snapshot]] = _gather_nothing
    render: Callable[..., Awaitable[bytes]] = _render_nothing
    emit: Callable[[Event], None] = _emit_nowhere
    commit: Callable[[Sequence[Event], Mapping[str, Any]], Awaitable[None]] = _commit_nowhere
    follow: Callable[[Sequence[str], Sequence[str], int | None], AsyncIterator[tuple[int, list[Record]]]] = (
        _follow_nothing
    )
    """Types, sources and the number after which to begin -> the journal; see ``Plugin.follow``."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """What this plugin has committed as its state, by key."""
    authenticate: Callable[[str], Principal | None] = lambda _token: None

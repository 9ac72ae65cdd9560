"""Where events enter: whoever emits one pays microseconds, and is never blocked, and never fails."""

import contextlib
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from agentd.errors import described
from agentd.events.envelope import LARGEST, Event, EventError, as_json, check_given, check_names, new_id
from agentd.plugin import Clock, NotDurable
from agentd.store.identity import Identity
from agentd.store.journal import Journal, NotWritten

log = logging.getLogger(__name__)

NAMED = 100
"""Problems that are named in the log at most."""

REMEMBERED = 4096
"""Combinations of type, source and target whose JSON is remembered."""

Hook = Callable[[Event, Callable[[Event], object]], Event | None]
"""Returns the event to use in the place of one, which was checked by what is given with it; None drops it."""


_encode = msgspec.json.encode

Place = tuple[str, str, str | None]
"""Type, source and target of an event."""


class Bus:
    """Takes events from plugins, the web server and the agent itself, and hands them to the journal."""

    def __init__(
        self,
        journal: Journal,
        who: Identity,
        *,
        boot_id: str = "",
        labels: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        synchronised: Callable[[], bool | None] = lambda: None,
        hook: Hook | None = None,
    ) -> None:
        self._journal = journal
        self._hook = hook
        self._clock = clock or Clock()
        self._synchronised = synchronised
        self._meta = {"host": socket.gethostname(), "agent_id": who.agent_id}
        if boot_id:
            self._meta["boot_id"] = boot_id
        self._labels = dict(labels or {})
        self._tails: dict[bool | None, bytes] = {}
        self._middles: dict[Place, bytes] = {}
        self._named: set[str] = set()
        self.refused = 0
        """Events that were none, and were left out."""

    def adapt(self, labels: Mapping[str, str], hook: Hook | None) -> None:
        """Give events other labels, and have another hook change them, from now on."""
        self._labels, self._hook = dict(labels), hook
        self._tails = {}

    def emit(self, event: Event) -> None:
        """Take an event: it is written down soon, and sent to all sinks that want it. From any thread; never raises."""
        try:
            if self._hook is not None:
                changed = self._hook(event, self._check)
                if changed is None:
                    return
                event = changed
            source = event.source or "agentd"
            self._journal.append(event.type, source, self._head(event, source))
        except Exception as error:  # noqa: BLE001  # whatever a caller hands in, it must not fail for it
            with contextlib.suppress(Exception):  # an object that cannot even say what it is
                self._refuse(event, error)

    async def commit(
        self, events: Sequence[Event], state: Mapping[str, Any] | None = None, *, plugin: str = ""
    ) -> list[Event]:
        """Write events and a plugin's state down in one transaction; return the events when all is on disk, with what
        was filled in.

        Raises ``NotDurable`` where it cannot be done now: then nothing of it was. Raises ``EventError`` for what is no
        event, and ``TypeError`` for what is no JSON.
        """
        taken = []
        for given in events:
            event = given if self._hook is None else self._hook(given, self._check)
            if event is not None:
                now = self._clock.time()
                event.id = event.id or new_id(now)
                event.source = event.source or "agentd"
                event.timestamp = event.timestamp or now
                taken.append(event)
        heads = [(event.type, event.source, self._head(event, event.source)) for event in taken]
        try:
            await self._journal.commit(heads, plugin, state)
        except NotWritten as error:
            raise NotDurable(str(error)) from error
        return taken

    def _check(self, event: Event) -> None:
        """Raise something where an event is none that could be taken."""
        self._head(event, event.source or "agentd")

    def _head(self, event: Event, source: str) -> bytes:
        """Return the envelope up to where its number belongs, the last of its ``meta``."""
        place = (event.type, source, event.target)
        middle = self._middles.get(place)
        if middle is None:
            middle = self._middle(place)
        timestamp = event.timestamp or self._clock.time()
        if event.id or event.timestamp:
            check_given(event)
        payload = as_json("payload", event.payload)
        tail = self._tail(event.meta) if event.meta else self._own_tail()
        if len(payload) + len(tail) > LARGEST:
            raise EventError(f"payload: with meta it has {len(payload) + len(tail)} bytes; {LARGEST} is the most")
        id_ = _encode(event.id or new_id(timestamp))
        # A number of another type, NumPy's say, may write itself otherwise.
        time = _encode(float(timestamp))
        return b"".join((b'{"id":', id_, middle, time, b',"payload":', payload, b',"meta":', tail))

    def _middle(self, place: Place) -> bytes:
        """Return type, source and target as JSON: most events have those of one before."""
        check_names(*place)
        if len(self._middles) >= REMEMBERED:
            self._middles.clear()
        type_, source, target = map(_encode, place)
        middle = b',"type":%b,"source":%b,"target":%b,"timestamp":' % (type_, source, target)
        self._middles[place] = middle  # which another thread may clear at any moment
        return middle

    def _own_tail(self) -> bytes:
        synchronised = self._synchronised()
        if synchronised not in self._tails:
            self._tails[synchronised] = self._tail({})
        return self._tails[synchronised]

    def _tail(self, given: Mapping[str, Any]) -> bytes:
        meta = {**given, **self._meta}
        synchronised = self._synchronised()
        if synchronised is not None:
            meta["clock_synchronised"] = synchronised
        labels = given.get("labels")
        meta["labels"] = {**(labels if isinstance(labels, Mapping) else {}), **self._labels}
        meta.pop("seq", None)
        return as_json("meta", meta)[:-1] + b',"seq":'

    def _refuse(self, event: Any, error: Exception) -> None:
        self.refused += 1
        type_ = str(getattr(event, "type", type(event).__name__))[:100]
        source = str(getattr(event, "source", ""))[:100]
        problem = f"{source} {type_} {type(error).__name__}"
        if problem not in self._named and len(self._named) < NAMED:
            self._named.add(problem)
            why = str(error) if isinstance(error, EventError) else described(error)
            log.warning("an event %s of %s is left out: %s", type_, source or "somebody", why)

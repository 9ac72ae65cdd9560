"""What a plugin says and writes down: it is kept, for the test to look at, as an agent's journal would have kept it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from agentd.events.envelope import as_json, check, check_given
from agentd.events.wanted import wants
from agentd.plugin import Clock, Event, NotDurable, Record

LOOK_EVERY = 0.01
"""Seconds between two looks of ``follow`` for what has come."""


class Commit(NamedTuple):
    """What a plugin wrote down in one transaction."""

    events: Sequence[Event]
    state: Mapping[str, Any]
    """The keys that changed; None: the key was removed."""


class Recorder:
    """Takes the place of the agent's journal for a plugin under test.

    ``events`` are those emitted and committed, in their order, filled in as the agent does it; ``commits`` are the
    transactions, ``state`` is what they come to, and ``refused`` says why events were left out that are none.
    """

    def __init__(self, state: Mapping[str, Any] | None = None, *, clock: Clock | None = None) -> None:
        """``state`` is what the plugin has committed in an earlier life."""
        self.events: list[Event] = []
        self.commits: list[Commit] = []
        self.state: dict[str, Any] = dict(state or {})
        self.refused: list[str] = []
        self.durable = True
        """Whether events can be written down now; where not, ``commit`` raises ``NotDurable``, and changes nothing."""
        self.clock = clock or Clock()

    @property
    def types(self) -> list[str]:
        """The types of the events, in their order."""
        return [event.type for event in self.events]

    def of(self, type: str) -> list[Event]:
        """Return the events of a type, or of those that a pattern such as ``"door.*"`` fits."""
        wanted = wants([type], ["*"])
        return [event for event in self.events if wanted(event.type, event.source)]

    def emit(self, event: Event) -> None:
        """Take an event. Raises nothing, as the agent's own does not: see ``refused``."""
        try:
            _check(event)
        except Exception as error:  # noqa: BLE001  # whatever a plugin hands in, emit() does not fail for it
            self.refused.append(f"{getattr(event, 'type', event)!r}: {error}")
            return
        self.events += filled([event], begin=len(self.events), clock=self.clock)

    async def commit(self, events: Sequence[Event], state: Mapping[str, Any]) -> None:
        """Take events and state together. Raises ``NotDurable``, ``EventError``, and ``TypeError`` for what is no JSON:
        then nothing is taken.
        """
        for event in events:
            _check(event)
        written = msgspec.json.decode(msgspec.json.encode(dict(state)))
        if not self.durable:
            raise NotDurable("this recorder is told to refuse")
        taken = filled(events, begin=len(self.events), clock=self.clock)
        self.events += taken
        self.commits.append(Commit(taken, written))
        for key, value in written.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    async def follow(
        self, types: Sequence[str], sources: Sequence[str], after: int | None
    ) -> AsyncIterator[tuple[int, list[Record]]]:
        """Yield what was taken, and what is yet to come: see ``Plugin.follow``."""
        wanted, at = wants(types, sources), after
        if at is None:
            at = len(self.events)
            yield at, []
        while True:
            new = self.events[at:]
            if new:
                begin, at = at, at + len(new)
                made = records(*new, begin=begin)
                yield at, [record for record in made if wanted(record.type, record.source)]
            else:
                await asyncio.sleep(LOOK_EVERY)


def records(*events: Event | Mapping[str, Any] | str, begin: int = 0, clock: Clock | None = None) -> list[Record]:
    """Return events as a sink is given them. Each is an ``Event``, a mapping of its fields, or only its type.

    What is not given is filled in, and always the same for the same place: ids count up, the first behind ``begin``.
    Raises ``EventError`` for what is no event.
    """
    made = []
    for given in events:
        event = Event(type=given) if isinstance(given, str) else given
        event = event if isinstance(event, Event) else msgspec.convert(event, Event)
        _check(event)
        made.append(event)
    whole = filled(made, begin=begin, clock=clock or Clock())
    return [Record(event.meta["seq"], event.type, event.source, msgspec.json.encode(event)) for event in whole]


def filled(events: Iterable[Event], *, begin: int, clock: Clock) -> list[Event]:
    """Return events of their own with an id, a time, a source and a number, where they had none."""
    return [
        msgspec.structs.replace(
            event,
            id=event.id or f"00000000-0000-7000-8000-{number:012d}",
            source=event.source or "agentd",
            timestamp=event.timestamp or clock.time(),
            payload=msgspec.json.decode(msgspec.json.encode(event.payload)),
            meta={**event.meta, "seq": event.meta.get("seq", number)},
        )
        for number, event in enumerate(events, begin + 1)
    ]


def _check(event: Event) -> None:
    check(event)
    check_given(event)
    as_json("payload", event.payload)
    as_json("meta", event.meta)

"""Missions counted by several agents together: what each has counted is in Redis, and so is what is open."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from agentd.plugin import Histogram
from agentd_plugins.collectors._streams.link import Link
from agentd_plugins.collectors._streams.position import Entry
from agentd_plugins.collectors.missions import scripts
from agentd_plugins.collectors.missions.entry import said
from agentd_plugins.collectors.missions.figures import Figures
from agentd_plugins.collectors.missions.tally import DURATIONS, FORGOTTEN, STATUS, UNREADABLE, Statuses

GONE = ""
"""Stands for an entry that was handed out, and deleted before it was counted."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """By what agents share streams."""

    group: str
    agent: str
    """This agent's name in the group."""
    beginning: bool
    claim_after: float
    """Seconds after which an entry that another one took and did not count is taken over."""
    bounds: Sequence[float]
    most: int
    forget_after: float


@dataclass
class Place:
    """One stream: its keys, and what this agent has counted of it."""

    keys: list[bytes]
    own: dict[str, float] = field(default_factory=dict)
    open: int = 0


class Together:
    """Reads streams as one of a group."""

    def __init__(self, link: Link, streams: Sequence[str], terms: Terms, statuses: Statuses) -> None:
        self._link = link
        self._terms = terms
        self._statuses = statuses
        self._places = {name.encode(): Place(_keys(name, terms)) for name in streams}
        self._names = dict(zip(self._places, streams, strict=True))
        self._bounds = [f"{bound:g}" for bound in terms.bounds]
        self._reader = (b"GROUP", terms.group, terms.agent, b"COUNT")
        self._known = False
        self._claimed = 0.0
        self._now = 0.0

    async def open(self) -> None:
        """Connect, join the group, and count what was handed to this agent before and not counted."""
        await self._link.open()
        for key, place in self._places.items():
            await self._run(scripts.BEGIN, place, self._terms.group, "0" if self._terms.beginning else "$")
            handed = True
            while handed:  # what is counted is handed out no more
                answer = await self._link.ask(b"XREADGROUP", *self._reader, self._link.count, b"STREAMS", key, b"0")
                handed = bool(answer and answer[0][1])
                await self._count(place, answer[0][1] if handed else ())
        self._known = True

    async def read(self, wait: float) -> dict[str, list[Entry]]:
        """Return entries that no other agent was given; where there are none, wait so long for one."""
        block = (b"BLOCK", max(1, int(wait * 1000))) if wait > 0 else ()
        command = (
            b"XREADGROUP",
            *self._reader,
            self._link.count,
            *block,
            b"STREAMS",
            *self._places,
            *(b">" for _ in self._places),
        )
        answer = await self._link.ask(*command, wait=wait)
        return {self._names[key]: entries for key, entries in answer or ()}

    async def count(self, found: Mapping[str, Sequence[Entry]]) -> bool:
        """Count what was read, and say whether that was all that there was."""
        for name, entries in found.items():
            await self._count(self._places[name.encode()], entries)
        return all(len(entries) < self._link.count for entries in found.values())

    async def look(self, now: float) -> None:
        """See what is missing, take over what others left, and forget missions of which nothing was heard for long."""
        self._now = now
        for key, place in self._places.items():
            if now - self._claimed >= self._terms.claim_after / 2:
                await self._claim(key, place)
            await self._run(scripts.LOOK, place, self._terms.group)
            await self._count(place, ())
        if now - self._claimed >= self._terms.claim_after / 2:
            self._claimed = now

    def changes(self) -> dict[str, Any]:
        """Return nothing: what was counted is in Redis."""
        return {}

    def saved(self) -> None:
        """Do nothing, for the same reason."""

    def figures(self) -> Figures | None:
        """Return what this agent has counted; None where it does not know yet what it counted before."""
        if not self._known:
            return None
        statuses: dict[str, int] = {}
        for place in self._places.values():
            for key, number in place.own.items():
                if key.startswith(STATUS):
                    status = key.removeprefix(STATUS)
                    statuses[status] = statuses.get(status, 0) + int(number)
        named = list(zip(self._names.values(), self._places.values(), strict=True))
        return Figures(
            statuses=statuses,
            active=sum(place.open for _, place in named),
            durations=self._histogram(),
            unreadable=self._sum(UNREADABLE),
            forgotten=self._sum(FORGOTTEN),
            lost={name: int(place.own.get("lost", 0)) for name, place in named},
            gaps={name: int(place.own.get("gaps", 0)) for name, place in named},
        )

    def _sum(self, key: str) -> int:
        return int(sum(place.own.get(key, 0) for place in self._places.values()))

    def _histogram(self) -> Histogram:
        signature = " ".join(self._bounds)
        counts = [self._sum(f"{DURATIONS}/{signature}/{bucket}") for bucket in range(len(self._bounds) + 1)]
        cumulative = list(accumulate(counts))
        seconds = sum(place.own.get(f"sum/{signature}", 0.0) for place in self._places.values())
        return Histogram(tuple(zip(self._terms.bounds, cumulative, strict=False)), cumulative[-1], seconds)

    async def _claim(self, key: bytes, place: Place) -> None:
        idle, after = int(self._terms.claim_after * 1000), b"0-0"
        while True:
            command = (
                b"XAUTOCLAIM",
                key,
                self._terms.group,
                self._terms.agent,
                idle,
                after,
                b"COUNT",
                self._link.count,
            )
            after, entries, *_ = await self._link.ask(*command)
            await self._count(place, entries)
            if after == b"0-0":
                return

    async def _count(self, place: Place, entries: Iterable[Entry]) -> None:
        terms = self._terms
        due = int((self._now - terms.forget_after) * 1000)
        head = (terms.group, terms.agent, terms.most, due, len(self._bounds), *self._bounds)
        _, own, open_ = await self._run(scripts.COUNT, place, *head, *self._arguments(entries))
        place.own = {key.decode(): float(value) for key, value in zip(own[::2], own[1::2], strict=True)}
        place.open = int(open_)
        for key in place.own:
            if key.startswith(STATUS):
                self._statuses.know(key.removeprefix(STATUS))

    def _arguments(self, entries: Iterable[Entry]) -> Iterator[bytes | str]:
        for id_, fields in filter(None, entries):  # servers before Redis 7 show nothing where one is gone
            found = said(fields) if fields else None
            if found is None:
                yield from (id_, GONE if fields is None else UNREADABLE, "", "", "")
                continue
            status, mission = found
            meaning = self._statuses.know(status)
            does = "e" if meaning.ends else "s" if meaning.starts else ""
            yield from (id_, STATUS + meaning.label, mission or "", does, id_.partition(b"-")[0])

    async def _run(self, script: str, place: Place, *arguments: object) -> Any:
        return await self._link.ask(b"EVAL", script, len(place.keys), *place.keys, *arguments)


def _keys(stream: str, terms: Terms) -> list[bytes]:
    begin = f"agentd:missions:{{{stream}}}:{terms.group}"
    parts = ("open", "seen", f"counted:{terms.agent}", "active", "accounted")
    return [stream.encode(), *(f"{begin}:{part}".encode() for part in parts)]

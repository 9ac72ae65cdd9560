"""Missions counted by one agent: what it counted is in its journal, together with the place up to which it counted."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentd_plugins.collectors._streams.link import Link
from agentd_plugins.collectors._streams.position import Entry
from agentd_plugins.collectors._streams.reader import Reader
from agentd_plugins.collectors.missions.figures import Figures
from agentd_plugins.collectors.missions.tally import Tally


class Alone:
    """Reads streams, and counts in memory."""

    def __init__(self, link: Link, streams: Sequence[str], state: Mapping[str, Any], tally: Tally, *, beginning: bool):
        self._reader = Reader(link, streams, state, beginning=beginning)
        self._tally = tally

    async def open(self) -> None:
        """Connect, and find where to go on."""
        await self._reader.open()

    async def read(self, wait: float) -> dict[str, list[Entry]]:
        """Return the next entries by their streams; where there are none, wait so long for one."""
        return await self._reader.read(wait)

    async def count(self, found: Mapping[str, Sequence[Entry]]) -> bool:
        """Count what was read, and say whether that was all that there was."""
        for entries in found.values():
            self._tally.count(entries)
        return all(len(entries) < self._reader.link.count for entries in found.values())

    async def look(self, now: float) -> None:
        """See what is missing, and forget missions of which nothing was heard for long."""
        self._tally.expire(now)
        await self._reader.look()

    def changes(self) -> dict[str, Any]:
        """Return what has to be saved, all at once."""
        return self._reader.changes() | self._tally.changes()

    def saved(self) -> None:
        """Note that it was."""
        self._reader.saved()
        self._tally.saved()

    def figures(self) -> Figures | None:
        """Return what was counted; None where no stream was ever found."""
        tally, positions = self._tally, self._reader.positions
        if not positions:
            return None
        return Figures(
            statuses=dict(tally.counts),
            active=len(tally.open),
            durations=tally.durations.histogram(),
            unreadable=tally.unreadable,
            forgotten=tally.forgotten,
            lost={name: position.lost for name, position in positions.items()},
            gaps={name: position.gaps for name, position in positions.items()},
        )

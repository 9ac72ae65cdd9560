"""Reads streams in order, each from where it stands: XREAD, with a look at what was trimmed (XINFO STREAM)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentd_plugins.collectors._streams.link import Failure, Link
from agentd_plugins.collectors._streams.position import FIRST, Entry, Info, Position, info

_NOTHING: Final = object()
"""Stands for an answer that is not there."""

KEY = "stream/"
"""What the keys of the state begin with that say where a reader stands."""


class Reader:
    """Where one reader stands in some streams. ``read`` goes on; whoever has made something of what it returned saves
    ``changes`` together with that.
    """

    def __init__(self, link: Link, streams: Sequence[str], state: Mapping[str, Any], *, beginning: bool) -> None:
        self.link = link
        self.positions: dict[str, Position] = {}
        self._streams = {name.encode(): name for name in streams}
        self._saved = state
        self._beginning = beginning
        self._changed: set[str] = set()
        self._asked = False
        self._held: Any = _NOTHING
        for name in streams:
            if KEY + name in state:
                self.positions[name] = Position.load(state[KEY + name])

    async def open(self) -> None:
        """Connect, find where to begin in streams that are new, and look what is missing. Raises ``Failure``."""
        self._asked, self._held = False, _NOTHING
        await self.link.open()
        for name in self._streams.values():
            if name not in self.positions:
                self.positions[name] = Position.new(await self._info(name), beginning=self._beginning)
                self._changed.add(name)
        await self.look()

    async def look(self) -> None:
        """Compare with what the server tells of each stream, so that what is missing gets known. Raises ``Failure``."""
        if self._asked:
            self._held, self._asked = await self.link.answer(), False
        for name, position in self.positions.items():
            found = await self._info(name)
            before = position.gaps
            if found is not None and found.added is None and await self._is_behind(name, position, found):
                position.gaps += 1
            if position.look(found) or position.gaps != before:
                self._changed.add(name)

    async def read(self, wait: float) -> dict[str, list[Entry]]:
        """Return entries by the names of their streams, and go on behind them. Raises ``Failure``.

        Where there are none, waits so many seconds for one; 0 does not wait. Less than ``link.count`` of a stream are
        all.
        """
        answer, new = self._held, False
        self._held = _NOTHING
        if answer is _NOTHING:
            if not self._asked:
                await self._ask(wait)
            self._asked = False
            answer, new = await self.link.answer(wait), True
        found = {self._streams[key]: entries for key, entries in answer or ()}
        for name, position in self.positions.items():
            entries = found.get(name, ())
            gaps = position.gaps
            # What was asked for before the last look does not tell what was there then.
            position.read(entries, all_there_was=new and len(entries) < self.link.count)
            if entries or position.gaps != gaps:
                self._changed.add(name)
        if any(len(entries) >= self.link.count for entries in found.values()):
            await self._ask(0.0)  # there is more: Redis prepares it while this is counted
            self._asked = True
        return found

    async def _ask(self, wait: float) -> None:
        block = (b"BLOCK", max(1, int(wait * 1000))) if wait > 0 else ()
        ids = [self.positions[name].id for name in self._streams.values()]
        await self.link.send(b"XREAD", b"COUNT", self.link.count, *block, b"STREAMS", *self._streams, *ids)

    def changes(self) -> dict[str, Any]:
        """Return what has to be saved."""
        return {KEY + name: self.positions[name].save() for name in self._changed}

    def saved(self) -> None:
        """Note that ``changes`` were saved."""
        self._changed.clear()

    async def _info(self, name: str) -> Info | None:
        try:
            return info(await self.link.ask(b"XINFO", b"STREAM", name))
        except Failure as failure:
            if failure.said.removeprefix("ERR ").startswith("no such key"):
                return None
            raise

    async def _is_behind(self, name: str, position: Position, found: Info) -> bool:
        """Say of a server that counts nothing whether the entry where the reader stands is gone, and others follow."""
        gone = found.first is not None and position.id not in (FIRST, found.last)
        return gone and not await self.link.ask(b"XRANGE", name, position.id, position.id)

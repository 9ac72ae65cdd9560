"""Journals in folders of their own, which are closed when their test ends, and what one does with them."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from agentd.events.bus import Bus
from agentd.events.envelope import Event
from agentd.plugin import NotDurable
from agentd.store import identity
from agentd.store.journal import Journal
from agentd.store.retention import Limits

LIMITS = Limits(size=64 << 20, age=1e9, memory=4 << 20)


class Lab:
    """Opens journals as an agent does at its start, and fills and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journals: dict[Path | None, Journal] = {}

    async def open(self, folder="", limits=LIMITS, synchronised=lambda: None) -> Journal:
        """Return the journal of a folder; None is memory. One that was open is closed before."""
        folder = self.folder if folder == "" else folder
        await self.close(folder)
        who = identity.load(folder, "") if folder else identity.Identity("memory")
        journal = Journal(folder, limits, who=who, synchronised=synchronised)
        journal.open()
        self._journals[folder] = journal
        return journal

    async def close(self, folder="") -> None:
        """Close the journal of a folder."""
        journal = self._journals.pop(self.folder if folder == "" else folder, None)
        if journal is not None:
            await journal.close()

    async def close_all(self) -> None:
        """Close what is still open."""
        for folder in list(self._journals):
            await self.close(folder)

    @staticmethod
    def emit(journal, *numbers, type="test.number", size=0):
        """Emit an event for each of some numbers."""
        bus = Bus(journal, identity.Identity("some"))
        for number in numbers:
            bus.emit(Event(type=type, source="test", payload={"n": number, "filling": "x" * size}))

    @staticmethod
    async def commit(journal, *numbers, state=None, plugin="plugin"):
        """Commit an event for each of some numbers."""
        bus = Bus(journal, identity.Identity("some"))
        await bus.commit([Event(type="test.number", payload={"n": n}) for n in numbers], state, plugin=plugin)

    async def insist(self, journal, *numbers):
        """Commit as whoever is refused does: again, until it works."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.commit(journal, *numbers)
                except NotDurable:
                    await asyncio.sleep(0.05)

    @staticmethod
    async def until(condition, within=60.0):
        """Wait until something is so."""
        end = time.monotonic() + within
        while not (done := condition()) and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert done, "it did not come to that"

    @staticmethod
    async def records(journal, after=0):
        """Return all records, read as a sink reads."""
        records = []
        while True:
            found = await journal.read(after)
            records += found.records
            if found.reached == after:
                return records
            after = found.reached

    async def numbers(self, journal):
        """Return the numbers that were emitted or committed, in the order of the journal."""
        return [record.event.payload["n"] for record in await self.records(journal)]

    @staticmethod
    def flip(path, chance: random.Random, many: int, start=0, end=None):
        """Change some bits of a file."""
        data = bytearray(path.read_bytes())
        for _ in range(many):
            data[chance.randrange(start, end or len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)


@pytest.fixture
async def lab(tmp_path):
    """Return what opens journals, the first in the test's own folder."""
    lab = Lab(tmp_path)
    yield lab
    await lab.close_all()

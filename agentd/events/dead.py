"""Dead letters: events that a sink's receiver will never accept, until somebody has it asked once more."""

from collections.abc import Sequence
from typing import Any

from agentd.calling import called
from agentd.events.bounded import Bounded, why
from agentd.events.envelope import Record
from agentd.plugin import Reject, Sink
from agentd.store.journal import Journal, NotWritten
from agentd.store.reader import DeadLetter


class DeadLetters:
    """The dead letters of one sink."""

    def __init__(self, sink: Sink[Any], journal: Journal, calls: Bounded) -> None:
        self._sink = sink
        self._name = sink.context.name
        self._journal = journal
        self._calls = calls

    async def bury(self, rejected: Sequence[Record], reason: str) -> bool:
        """Set events aside; say whether that is written down."""
        try:
            await self._journal.bury(self._name, rejected, reason)
        except NotWritten:
            return False
        self._sink.log.warning("events that are set aside: %d; %s", len(rejected), reason)
        return True

    async def replay(self, events: int) -> int:
        """Send all once more, so many at once; return how many were accepted. Ends where nobody answers."""
        after = sent = 0
        while letters := await self._journal.dead(self._name, after, events):
            after = letters[-1].number
            arrived = await self._again(letters)
            if arrived is None:
                break
            sent += len(arrived)
            try:
                await self._journal.bury_no_more(self._name, [letter.number for letter in arrived])
            except NotWritten:  # they come again: better than that they are lost
                break
        return sent

    async def _again(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter] | None:
        """Return those that were accepted now; None where the receiver could not be asked."""
        try:
            await self._calls.call(called(self._sink.send, self._sink.in_worker, [letter.record for letter in letters]))
        except Reject as reject:
            return [letter for letter in letters if letter.record.id not in reject.ids]
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
            self._sink.log.warning("dead letters could not be delivered: %s", why(error))
            return None
        return letters

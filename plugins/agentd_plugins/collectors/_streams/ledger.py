"""Where a collector keeps what it counted: in the agent's journal, or in memory for as long as that refuses."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentd.plugin import Collector, Event, NotDurable


class Restored(Exception):
    """What was saved in an earlier life could be read only now: what was counted in this one is to be forgotten."""

    def __init__(self) -> None:
        super().__init__(
            "what was counted before the agent started could be read only now: it is counted on from there"
        )


class Ledger:
    """Writes down what was counted, together with the place up to which it was, and says where that is not possible."""

    def __init__(self, collector: Collector[Any]) -> None:
        self._collector = collector
        self._had = len(collector.state)
        self._ever = False
        self._refused = False

    async def save(self, changes: Mapping[str, Any], events: Sequence[Event] = ()) -> NotDurable | None:
        """Write changes and events down in one transaction, or return why that was not possible now.

        Raises ``Restored`` where the state was not known yet when the collector was made: its disk refused.
        """
        collector = self._collector
        if not self._ever and len(collector.state) != self._had:
            self._had = len(collector.state)
            raise Restored
        try:
            await collector.commit(events, changes)
        except NotDurable as error:
            if not self._refused:
                self._refused = True
                collector.log.warning(
                    "what is counted cannot be written down, and is kept in memory (%s); "
                    "the next start counts on from what was written last",
                    error,
                )
            return error
        if self._refused:
            collector.log.info("what is counted is written down again")
        self._ever, self._refused = True, False
        return None

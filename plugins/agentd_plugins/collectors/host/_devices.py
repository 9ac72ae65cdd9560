"""Asks devices that may be slow or hang, each without holding up the others for longer than a few seconds."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from agentd.plugin import Collector
from agentd_plugins.collectors.host._watch import Watch

Answer = TypeVar("Answer")

PATIENCE = 5.0
"""Seconds after which the device that is being asked counts as hanging: sensors on a slow bus take one each."""

SHORTEST = 0.05
"""With less time than this left, no further worker is asked for."""


class Devices(Generic[Answer]):
    """Asks the devices of one collector by name, one after the other in a worker thread.

    A device that hangs is left out until its call has returned; both is said in the log. ``read`` is called in the
    worker, and leaves out itself what a device refuses.
    """

    def __init__(self, collector: Collector[Any], read: Callable[[str], Answer]) -> None:
        self._collector = collector
        self._watch: Watch[str, Answer] = Watch(read, self._hangs, self._returned)

    async def ask(self, names: Sequence[str]) -> dict[str, Answer]:
        """Return what each device answered, in the order of the names, without those that did not answer in time."""
        answers = await self._watch.ask(names, self._collector.in_worker, self._patience)
        return {name: answer for name in names if (answer := answers.get(name)) is not None}

    def _patience(self) -> float:
        left = 0.8 * self._collector.time_left()
        return min(PATIENCE, left) if left > SHORTEST else 0.0

    def _hangs(self, name: str, seconds: float) -> None:
        self._collector.log.warning(
            "the device %s did not answer within %.3g s: it is left out, and not asked again while that call hangs",
            name,
            seconds,
        )

    def _returned(self, name: str) -> None:
        self._collector.log.warning("the device %s has answered at last: it is asked again", name)

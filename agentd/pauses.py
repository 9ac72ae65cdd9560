"""Keeps the pauses of Python's garbage collector short, however many robots are connected.

A collection looks at every object of its generations, and all else waits: at ten thousand connections a full one took
a quarter of a second. What has outlived a collection that was long is therefore not looked at again (``gc.freeze``). It
still goes as soon as nothing refers to it; only what then refers to itself would stay, so connections see to it that
they do not.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

from agentd.memory import trim

LONGEST = 0.003
"""Seconds that a collection may take before what it kept is set aside."""

THRESHOLDS = (5_000, 3, 20)
"""New objects until the youngest generation is looked at, and how often each until the next (gc.set_threshold). A
scrape makes some thousand objects and drops them all, which is no reason to look for cycles."""


RENEW_AFTER = 60.0
"""Seconds after a reload until what was set aside is looked at again."""


class Pauses:
    """Watches the garbage collector, from ``begin`` to ``end``."""

    def __init__(self, longest: float = LONGEST, clock: Callable[[], float] = time.perf_counter) -> None:
        self._longest = longest
        self._clock = clock
        self._begun = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Set aside all that there is, and watch."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._collecting)

    def renew(self) -> None:
        """Have what was set aside looked at once, a little later: after a reload, plugins that are gone are among it.
        What is free then is given back to the kernel.

        That is a pause itself, so however often one reloads it is made once a minute at most.
        """
        if self._timer is None and self._collecting in gc.callbacks:
            self._timer = asyncio.get_running_loop().call_later(RENEW_AFTER, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        trim()

    def end(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    def _collecting(self, phase: str, _info: Mapping[str, Any]) -> None:
        now = self._clock()
        if phase == "start":
            self._begun = now
        elif now - self._begun > self._longest:
            gc.freeze()

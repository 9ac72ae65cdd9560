"""Plugins that are left out for a while after the start, because they held up the agent until somebody ended it.

They would do so again after each start, for ever. Each comes back by itself, and rests twice as long where it does it
again.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

log = logging.getLogger(__name__)

FIRST, LONGEST = 600.0, 86400.0
"""Seconds for which a plugin rests at first, and at most."""

REASON = "it held up the whole agent until that was ended by its watchdog"


class Rest(msgspec.Struct, frozen=True):
    """One plugin's."""

    times: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    """How often in a row."""
    until: float
    """Seconds since 1970."""


def seconds(times: int) -> float:
    """Return for how long a plugin rests that has done it so often in a row."""
    return min(LONGEST, FIRST * 2.0 ** min(times - 1, 60))


class Resting:
    """Who rests, kept in a file that is written only when that changes."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._rests: dict[str, Rest] = {}

    def begin(self, suspects: Sequence[str]) -> dict[str, float]:
        """Read the file, and add who held up the agent that ran before; return for how many seconds more each rests.

        Who has not done so for a day beyond its last rest begins anew.
        """
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._rests = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Rest])
        now = self._clock()
        kept = {key: rest for key, rest in self._rests.items() if now < rest.until + LONGEST}
        for key in suspects:
            times = min(kept[key].times + 1, 1000) if key in kept else 1
            kept[key] = Rest(times, now + seconds(times))
        self._keep(kept)
        # The clock may have been wrong, then or now: nobody rests for longer than it is to.
        left = {key: min(seconds(rest.times), rest.until - now) for key, rest in kept.items()}
        return {key: wait for key, wait in left.items() if wait > 0}

    def forget(self, key: str) -> None:
        """Let a plugin begin anew: somebody has looked after it."""
        self._keep({other: rest for other, rest in self._rests.items() if other != key})

    def _keep(self, rests: dict[str, Rest]) -> None:
        if rests == self._rests:
            return
        self._rests = rests
        new = self._file.with_suffix(".new")
        try:
            new.unlink(missing_ok=True)  # it may be a link of somebody else's
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(msgspec.json.encode(rests))
            new.replace(self._file)
        except OSError as error:
            log.warning("cannot write down in %s which plugins rest: %s", self._file, error)

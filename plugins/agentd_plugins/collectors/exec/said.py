"""What a program writes to its standard error, as lines of the log: no more than one can read."""

import asyncio
import logging
from collections.abc import Callable

LINES, SECONDS = 20, 60.0
"""Lines that are logged at most, and in how many seconds; more are counted."""

LONGEST = 500
"""Characters of a line that are shown."""

RATE = 1 << 20
"""Bytes that are read in a second at most: one that writes more is held up."""

LEVELS = {"E!": logging.ERROR, "W!": logging.WARNING, "I!": logging.INFO, "D!": logging.DEBUG, "T!": logging.DEBUG}
"""What a line may begin with to have another level, as for Telegraf's execd."""


class Said:
    """Logs lines, and knows the last one."""

    def __init__(self, log: logging.Logger, harmless: Callable[[str], str], now: Callable[[], float]) -> None:
        """``harmless`` hides secrets in a text; ``now`` returns seconds that never go back."""
        self.last = ""
        """The last line that was not empty."""
        self._log = log
        self._harmless = harmless
        self._now = now
        self._until = 0.0
        self._left = 0
        self._more = 0

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Log what comes, until nothing more can come."""
        rest = b""
        second, left = self._now(), RATE
        while data := await reader.read(65536):
            left -= len(data)
            if left < 0:
                await asyncio.sleep(max(0.0, second + 1.0 - self._now()))
                second, left = self._now(), RATE
            *lines, rest = (rest + data).split(b"\n")
            self._take([line for line in lines if line.strip()])
            rest = rest[: 4 * LONGEST]
        self._take([rest] if rest.strip() else [])

    def tell(self) -> None:
        """Say how many lines were left out."""
        if self._more:
            self._log.warning("and %d further lines on its standard error", self._more)
            self._more = 0

    def _take(self, lines: list[bytes]) -> None:
        if not lines:
            return
        now = self._now()
        if now >= self._until:
            self.tell()
            self._until, self._left = now + SECONDS, LINES
        for line in lines[: self._left]:
            text = self._shown(line)
            level = LEVELS.get(text[:2], logging.WARNING)
            self._log.log(level, "%s", text[2:].strip() if text[:2] in LEVELS else text)
        self._more += len(lines[self._left :])
        self._left = max(0, self._left - len(lines))
        self.last = self._shown(lines[-1])

    def _shown(self, line: bytes) -> str:
        text = self._harmless(line[: 4 * LONGEST].decode("utf-8", "replace").strip())
        text = "".join(each if each.isprintable() else " " for each in text[: LONGEST + 1])
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

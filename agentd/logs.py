"""Structured logs on the standard library's logging: readable text, JSON lines, or text with journald's priorities."""

import json
import logging
import os
import sys
import time
from typing import Any, Literal, TextIO

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels of logging and the priorities of syslog(3) that journald shows in colours and filters by."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS |= {ord("\n"): "\\n", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters that begin a line or steer a terminal, and what is shown of them: what is logged may quote anything."""


def configure(level: LogLevel, format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send the records of all loggers to standard error, once each.

    ``auto`` is text, without time but with a priority where standard error leads to journald, which adds the time.
    """
    out = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # standard error may be closed: None
    handler = logging.StreamHandler(out)
    journal = format == "auto" and to_journal(out)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(journal=journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.raiseExceptions = False  # a log that cannot be written must not fill the log
    # Libraries tell at "info" what only their developers want to know.
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def to_journal(stream: TextIO) -> bool:
    """Say whether a stream is the one that systemd has connected to journald (``JOURNAL_STREAM``, systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed as ``extra`` with a record."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class TextFormatter(logging.Formatter):
    """One line a record: time, level, logger, message, and ``name=value`` for what was passed as ``extra``."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; a traceback follows on lines of its own."""
        extra = "".join(f" {name}={value}" for name, value in fields(record).items())
        name = record.name.removeprefix("agentd.")
        text = f"{name}: {record.getMessage()}{extra}".translate(_CONTROLS)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if self._journal:
            priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
            return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
        return f"{_timestamp(record)} {record.levelname.lower():7} {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: ``time``, ``level``, ``logger``, ``message``, what came as ``extra``, ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"

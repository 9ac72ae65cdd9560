"""Structured logs on the standard library's logging: readable text, JSON lines, or text with journald's priorities."""

import json
import logging
import os
import re
import sys
import time
from typing import Any, Literal, TextIO

from agentd import journald

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels of logging and the priorities of syslog(3) that journald shows in colours and filters by."""

_PLUGIN = re.compile(r"agentd\.((?:collectors|exporters|sinks)\..+)")
"""The name of a plugin instance's logger."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS |= {ord("\n"): "\\n", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""Characters that begin a line or steer a terminal, and what is shown of them: what is logged may quote anything."""


def configure(
    level: LogLevel, format: LogFormat = "auto", stream: TextIO | None = None, address: str = journald.SOCKET
) -> None:
    """Send the records of all loggers to standard error, once each.

    ``auto`` is text, or entries of journald with fields of their own where standard error leads to journald,
    which listens at an address.
    """
    out = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # standard error may be closed: None
    journal = format == "auto" and to_journal(out)
    handler: logging.Handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(journal=journal))
    if journal:
        handler = JournalHandler(handler, address)
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

    def plain(self, record: logging.LogRecord) -> str:
        """Return the record as text without time and level; a traceback follows on lines of its own."""
        extra = "".join(f" {name}={value}" for name, value in fields(record).items())
        name = record.name.removeprefix("agentd.")
        text = f"{name}: {record.getMessage()}{extra}".translate(_CONTROLS)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as it is written to a stream."""
        text = self.plain(record)
        if self._journal:
            return "\n".join(f"<{_priority(record)}>{line}" for line in text.split("\n"))
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


class JournalHandler(logging.Handler):
    """Sends records to journald with fields to search by; what it does not take goes the other way.

    Beside the fields that journald knows, ``AGENTD_PLUGIN`` names the instance (``collectors.cpu``) whose record it is,
    and ``AGENTD_NAME`` is what was passed as ``extra`` under a name.
    """

    def __init__(self, otherwise: logging.Handler, address: str = journald.SOCKET) -> None:
        super().__init__()
        self._otherwise = otherwise
        self._address = address
        self._formatter = TextFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            entry = {
                "MESSAGE": self._formatter.plain(record),
                "PRIORITY": str(_priority(record)),
                "SYSLOG_IDENTIFIER": "agentd",
                "CODE_FILE": record.pathname,
                "CODE_LINE": str(record.lineno),
                "CODE_FUNC": record.funcName or "",
                "AGENTD_LOGGER": record.name,
            }
            if match := _PLUGIN.fullmatch(record.name):
                entry["AGENTD_PLUGIN"] = match[1]
            entry |= {journald.field_name(name): str(value) for name, value in fields(record).items()}
        except Exception:  # noqa: BLE001  # as with any handler, a record that cannot be shown fails nobody
            self.handleError(record)
            return
        if not journald.send(entry, self._address):
            self._otherwise.handle(record)


def _priority(record: logging.LogRecord) -> int:
    return next((number for level, number in _PRIORITIES if record.levelno >= level), 7)


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"

"""Structured logs on the standard library's logging: readable text, JSON lines, or text with journald's priorities."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from hashlib import blake2b
from typing import Any, Literal, TextIO

from agentd import journald
from agentd.folding import Folding, Repeats

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels of logging and the priorities of syslog(3) that journald shows in colours and filters by."""

_PLUGIN = re.compile(r"agentd\.((?:collectors|exporters|sinks)\..+)")
"""The name of a plugin instance's logger."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_CONTROLS |= {ord("\n"): "\\n", ord("\t"): "\\t"}
"""Characters that begin a line, steer a terminal or turn the direction of writing, and what is shown of them: what is
logged may quote anything."""
_IN_TRACEBACKS = {code: shown for code, shown in _CONTROLS.items() if chr(code) not in "\n\t"}
_IN_JSON = {code: f"\\u{code:04x}" for code in _CONTROLS if code > 126}
"""Of these, those that JSON lets stand as they are."""

UNFOLDED = frozenset({"agentd.daemon", "agentd.reload", "agentd.roster"})
"""Loggers of which every line is written: somebody has asked for what they tell, and waits for it."""

Line = tuple[str, int, bytes]
"""What tells lines apart: the logger, the level, and a digest of all else."""


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
    for before in root.handlers:
        if isinstance(before, FoldingHandler):
            before.close()
    root.handlers[:] = [FoldingHandler(handler)]
    root.setLevel(level.upper())
    logging.raiseExceptions = False  # a log that cannot be written must not fill the log
    # Libraries tell at "info" what only their developers want to know.
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def look() -> None:
    """Write how often lines came again whose time is over. Called every few seconds: nothing else may be logged."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, FoldingHandler):
            handler.look()


class FoldingHandler(logging.Handler):
    """Passes a line that comes again within five minutes on once, and then how often it came."""

    def __init__(self, out: logging.Handler, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._out = out
        self._clock = clock
        self._folding: Folding[Line] = Folding()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record that is new, and what is to be told of others before it."""
        if self._is_new(record):
            self._out.handle(record)

    def look(self) -> None:
        """Write how often lines came again whose time is over."""
        with self.lock or nullcontext():
            self._write(self._folding.ended(self._clock()))

    def close(self) -> None:
        """Write how often all lines came again."""
        with self.lock or nullcontext():
            self._write(self._folding.all(self._clock()))
        super().close()

    def _is_new(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        self._write(self._folding.ended(now, room=1))
        if record.levelno <= logging.DEBUG or record.name in UNFOLDED:  # who debugs wants to see each
            return True
        try:
            return self._folding.is_new(told_apart_by(record), record.getMessage(), now)
        except Exception:  # noqa: BLE001  # arguments that do not fit: what writes it says so
            return True

    def _write(self, repeats: Iterable[Repeats[Line]]) -> None:
        for each in repeats:
            name, level, _ = each.key
            record = logging.LogRecord(name, level, "", 0, str(each), None, None)
            record.repeated = each.times
            self._out.handle(record)


def told_apart_by(record: logging.LogRecord) -> Line:
    """Return what tells a line from others. Of what it is made of, floats may differ, which are measured; other numbers
    may be somebody's, or an error's. What a traceback says counts, too.
    """
    args, extra = _unmeasured(record.args or ()), _unmeasured(fields(record))
    text = [str(record.msg) % args if args else str(record.msg), repr(extra)]
    if record.exc_info:
        text.append(logging.Formatter().formatException(record.exc_info))
    return record.name, record.levelno, blake2b("\0".join(text).encode("utf-8", "replace"), digest_size=16).digest()


def _unmeasured(values: Any) -> Any:
    """Return a tuple or mapping with 0 in the place of each float."""
    if isinstance(values, Mapping):
        return {name: 0.0 if type(value) is float else value for name, value in values.items()}
    return tuple(0.0 if type(value) is float else value for value in values)


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
        extra = "".join(f" {name}={value}" for name, value in fields(record).items() if name != "repeated")
        name = record.name.removeprefix("agentd.")
        text = f"{name}: {record.getMessage()}{extra}".translate(_CONTROLS)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info).translate(_IN_TRACEBACKS)}"
        return text

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as it is written to a stream."""
        text = self.plain(record)
        if self._journal:
            return "\n".join(f"<{_priority(record)}>{line}" for line in text.split("\n"))
        indented = text.replace("\n", "\n  ")  # what an error quotes is no record of its own
        return f"{_timestamp(record)} {record.levelname.lower():7} {indented}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: ``time``, ``level``, ``logger``, ``message``, what came as ``extra``, ``error``; and
    ``repeated`` where it tells how often a line came again.
    """

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
        return json.dumps(entry, default=str, ensure_ascii=False).translate(_IN_JSON)


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

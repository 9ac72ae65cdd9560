"""Logs: one line a record, for people, for journald and for machines."""

import importlib
import io
import json
import logging
import os
import re
import socket
import textwrap

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentd import journald, logs
from agentd.folding import LINES, LONGEST, WINDOW, Folding

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def logging_as_before():
    """Puts logging back to what it was."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    levels = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp")}
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def written():
    """Configures logging, and returns what is then written."""
    stream = io.StringIO()

    def configure(level="info", format="auto"):
        logs.configure(level, format, stream)
        return stream

    return configure


def test_text_is_one_line_with_time_level_logger_and_message(written):
    """What came as ``extra`` follows, and the agent's own name is left out."""
    stream = written()
    logging.getLogger("agentd.collectors.cpu").warning("it is %s", "hot", extra={"zone": 3})
    logging.getLogger("other").info("x")
    one, two = stream.getvalue().splitlines()
    assert re.fullmatch(rf"{TIME} warning collectors\.cpu: it is hot zone=3", one)
    assert re.fullmatch(rf"{TIME} info    other: x", two)


def test_json_is_one_object_a_line(written):
    """Its fields have names that a log store can search by."""
    stream = written(format="json")
    logging.getLogger("agentd.cpu").error('a "b"\né', extra={"zone": 3, "odd": {1}})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert re.fullmatch(TIME, entry.pop("time"))
    assert entry == {"level": "error", "logger": "agentd.cpu", "message": 'a "b"\né', "zone": 3, "odd": "{1}"}


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_error_is_shown_with_its_traceback_where_it_is_given(written, format):
    """In text it follows on lines of its own, in JSON it is a field."""
    stream = written(format=format)
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("agentd").exception("failed")
    text = stream.getvalue()
    shown = json.loads(text)["error"] if format == "json" else textwrap.dedent(text.split("\n", 1)[1])
    assert shown.startswith("Traceback")
    assert shown.rstrip().endswith("ValueError: wrong")


@given(st.text(), st.text())
def test_nothing_that_is_logged_can_forge_a_line(message, extra):
    """Line breaks and control characters of a message, from a label value say, stay within its line."""
    record = logging.LogRecord("agentd.x", logging.INFO, "", 0, message, None, None)
    record.extra = extra
    for formatter in (logs.TextFormatter(), logs.TextFormatter(journal=True)):
        line = formatter.format(record)
        assert len(line.splitlines()) == 1
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    line = logs.JsonFormatter().format(record)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
    assert json.loads(line)["message"] == message


@given(st.text())
@example("x\n2026-11-21T00:00:00.000Z error   web: forged\x1b[2J")
def test_nothing_that_an_error_quotes_can_forge_a_line(text):
    """What a traceback ends with, which may be somebody else's words, is on lines that begin no record."""
    error = ValueError(text)
    record = logging.LogRecord("agentd.x", logging.ERROR, "", 0, "m", None, (ValueError, error, None))
    _, *more = logs.TextFormatter().format(record).split("\n")
    assert all(line.startswith("  ") for line in more)
    assert all(line.startswith("<3>") for line in logs.TextFormatter(journal=True).format(record).split("\n"))
    for formatter in (logs.TextFormatter(), logs.TextFormatter(journal=True), logs.JsonFormatter()):
        shown = formatter.format(record)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert json.loads(logs.JsonFormatter().format(record))["error"].startswith("ValueError")


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels_below_the_asked_one_are_left_out(written, level, shown):
    """The least important messages go first."""
    stream = written(level)
    for each in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("agentd"), each)("x")
    assert len(stream.getvalue().splitlines()) == shown


def test_libraries_tell_warnings_only(written):
    """What aiohttp says of each request is for its developers."""
    stream = written("debug")
    logging.getLogger("aiohttp.access").info("x")
    logging.getLogger("asyncio").debug("x")
    assert stream.getvalue() == ""
    logging.getLogger("aiohttp.server").error("x")
    assert len(stream.getvalue().splitlines()) == 1


def test_configuring_again_replaces_what_was(written):
    """No record is written twice."""
    written()
    stream = written()
    logging.getLogger("agentd").info("x")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_log_that_cannot_be_written_fails_nobody(written, capsys):
    """Whoever logs goes on, and nothing is printed instead."""
    stream = written()
    stream.close()
    logging.getLogger("agentd").info("x")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 3)]
)
def test_journald_gets_priorities_instead_of_times(tmp_path, monkeypatch, level, priority):
    """Where it takes no entries, it has the time itself all the same, and gets a priority for each line."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("debug", "auto", stream, str(tmp_path / "nobody"))
        try:
            raise ValueError("wrong")
        except ValueError as error:
            getattr(logging.getLogger("agentd.cpu"), level)("x", exc_info=error)
        stream.seek(0)
        lines = stream.read().splitlines()
    assert lines[0] == f"<{priority}>cpu: x"
    assert len(lines) > 2
    assert all(line.startswith(f"<{priority}>") for line in lines)


def entry(data):
    """Return the fields of a datagram to journald, read as its protocol says."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert end == b"\n"
        assert re.fullmatch("[A-Z][A-Z0-9_]{0,63}", name.decode())
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """Logs to a journald of the test's own; returns what it gets next, and the file behind standard error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, (tmp_path / "log").open("w+") as stream:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(10)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("info", "auto", stream, str(tmp_path / "journal"))
        yield lambda: entry(listening.recv(1 << 20)), tmp_path / "log"


def test_journald_gets_fields_to_search_by(journal):
    """The plugin, the priority, the place in the code and what came as ``extra`` are fields of their own."""
    received, stream = journal
    logging.getLogger("agentd.sinks.fleet").warning("it is %s", "late", extra={"since-when": 3})
    logging.getLogger("agentd.daemon").info("x")
    one, two = received(), received()
    assert one.pop("CODE_FILE") == __file__
    assert one.pop("CODE_LINE").isdecimal()
    assert one == {
        "MESSAGE": "sinks.fleet: it is late since-when=3",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "agentd",
        "CODE_FUNC": "test_journald_gets_fields_to_search_by",
        "AGENTD_LOGGER": "agentd.sinks.fleet",
        "AGENTD_PLUGIN": "sinks.fleet",
        "AGENTD_SINCE_WHEN": "3",
    }
    assert (two["MESSAGE"], two["PRIORITY"]) == ("daemon: x", "6")
    assert "AGENTD_PLUGIN" not in two
    assert stream.read_text() == "", "nothing is written twice"


def test_a_traceback_is_one_entry_of_journald(journal):
    """Its lines are not entries of their own."""
    received, _ = journal
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("agentd").exception("failed")
    message = received()["MESSAGE"]
    assert message.startswith("agentd: failed\nTraceback")
    assert message.endswith("ValueError: wrong")


def test_what_journald_does_not_take_is_written_to_standard_error(journal):
    """An entry that is too large for a datagram is not lost."""
    _, stream = journal
    logging.getLogger("agentd").info("x" * (8 << 20))
    assert stream.read_text() == f"<6>agentd: {'x' * (8 << 20)}\n"


@given(st.dictionaries(st.text(), st.text()))
def test_no_value_forges_a_field_of_journald(values):
    """Whatever names and values are logged, what is read back are these values, under names that journald allows."""
    named = {journald.field_name(name): value for name, value in values.items()}
    assert entry(journald.encode(named)) == named


@pytest.mark.parametrize("value", [None, "", "1:2", "x", ":"])
def test_other_streams_are_not_journald(tmp_path, monkeypatch, value):
    """JOURNAL_STREAM names a device and an inode; what does not match or has no descriptor is no journal."""
    if value is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", value)
    with (tmp_path / "log").open("w") as stream:
        assert not logs.to_journal(stream)
    assert not logs.to_journal(stream), "it is closed"
    assert not logs.to_journal(io.StringIO())


class Folded:
    """A log of its own, with a clock that stands still until somebody moves it."""

    def __init__(self, formatter=None):
        self.now = 1000.0
        self.stream = io.StringIO()
        out = logging.StreamHandler(self.stream)
        out.setFormatter(formatter or logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.handler = logs.FoldingHandler(out, lambda: self.now)
        self.seen = 0

    def say(self, text, *args, name="agentd.x", level=logging.INFO, error=None, **extra):
        """Log a line; ``extra`` is what comes as that."""
        exc_info = (type(error), error, error.__traceback__) if error is not None else None
        record = logging.LogRecord(name, level, "", 0, text, args, exc_info)
        vars(record).update(extra)
        self.handler.handle(record)

    def lines(self):
        """Return what was written since the last time."""
        text = self.stream.getvalue()
        new, self.seen = text[self.seen :], len(text)
        return new.splitlines()


def test_a_line_that_comes_again_is_written_once_and_then_how_often():
    """After five minutes the log says how often, and where it comes later it is written anew."""
    log = Folded()
    for _ in range(128):
        log.say("the device is gone", level=logging.ERROR)
        log.now += 2.0
    assert log.lines() == ["ERROR agentd.x: the device is gone"]
    log.now = 1299.0
    log.handler.look()
    assert log.lines() == []
    log.now = 1300.0
    log.handler.look()
    assert log.lines() == ["ERROR agentd.x: the device is gone (the same 127 times in 5 min)"]
    log.now += 1000.0
    log.handler.look()
    log.say("the device is gone", level=logging.ERROR)
    assert log.lines() == ["ERROR agentd.x: the device is gone"]


def test_how_often_a_line_came_is_written_before_the_next_line():
    """Nobody has to look for that; a line that came once is not mentioned again."""
    log = Folded()
    for text in ("a", "b", "b", "b"):
        log.say(text, level=logging.WARNING)
    log.now += 400.0
    log.say("c")
    assert log.lines() == [
        "WARNING agentd.x: a",
        "WARNING agentd.x: b",
        "WARNING agentd.x: b (the same 2 times in 7 min)",
        "INFO agentd.x: c",
    ]


def test_how_often_a_line_came_is_written_at_the_end():
    """What was counted when the agent ends, or logging is configured anew, is not lost."""
    log = Folded()
    for _ in range(2):
        log.say("a")
    log.now += 42.0
    log.handler.close()
    assert log.lines() == ["INFO agentd.x: a", "INFO agentd.x: a (the same once in 42 s)"]


def test_a_new_configuration_of_logging_says_what_was_counted(written):
    """A reload configures it anew, and lines are written once more."""
    stream = written()
    for _ in range(3):
        logging.getLogger("agentd.x").info("a")
    assert written() is stream
    logging.getLogger("agentd.x").info("a")
    assert [line[33:] for line in stream.getvalue().splitlines()] == ["x: a", "x: a (the same 2 times in 0 s)", "x: a"]


def test_the_json_of_repeats_has_their_number():
    """A log store can add them up; in text the number is there once."""
    for formatter, expected in ((logs.JsonFormatter(), 3), (logs.TextFormatter(), None)):
        log = Folded(formatter)
        for _ in range(4):
            log.say("a", zone=3)
        log.handler.close()
        first, last = log.lines()
        if expected:
            entry = json.loads(last)
            assert (entry["repeated"], entry["logger"], entry["level"]) == (3, "agentd.x", "info")
            assert "repeated" not in json.loads(first)
        else:
            assert first.endswith("x: a zone=3")
            assert last.endswith("x: a (the same 3 times in 0 s)")


def raised(error):
    """Return an error with its traceback."""
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"text": "exit status %d", "args": (1,)}, {"text": "exit status %d", "args": (2,)}),
        ({"text": "robot %s", "args": ("r1",)}, {"text": "robot %s", "args": ("r2",)}),
        ({"text": "waits 1.0 s"}, {"text": "waits 2.0 s"}),
        ({"name": "agentd.x"}, {"name": "agentd.y"}),
        ({"level": logging.WARNING}, {"level": logging.ERROR}),
        ({"zone": 1}, {"zone": 2}),
        ({"error": raised(OSError(2, "gone"))}, {"error": raised(OSError(5, "broken"))}),
        ({"error": raised(ValueError("1"))}, {"error": raised(TypeError("1"))}),
        ({"error": raised(ValueError("1"))}, {}),
    ],
    ids=str,
)
def test_lines_that_differ_are_never_folded(one, other):
    """Neither in what they say, nor in who says it, how important it is, or which error was behind it."""
    log = Folded()
    for _ in range(2):
        for each in (one, other):
            keywords = {"text": "it failed", "args": (), **each}
            log.say(keywords.pop("text"), *keywords.pop("args"), **keywords)
    text = log.stream.getvalue()
    assert len([line for line in text.splitlines() if re.match("[A-Z]+ agentd", line)]) == 2
    log.handler.close()
    assert log.stream.getvalue().count("(the same once in 0 s)") == 2


def test_what_was_measured_may_differ():
    """Floats tell nobody apart; the last of them are told."""
    log = Folded()
    for seconds in (1.5, 2.5, 3.5):
        log.say("%s answered after %.1f s", "r1", seconds)
        log.say("%(who)s answered after %(seconds).1f s", {"who": "r2", "seconds": seconds})
    assert len(log.lines()) == 2
    log.handler.close()
    assert log.lines() == [
        f"INFO agentd.x: {who} answered after 3.5 s (the same 2 times in 0 s)" for who in ("r1", "r2")
    ]


@pytest.mark.parametrize("name", sorted(logs.UNFOLDED))
def test_what_somebody_waits_for_is_written_each_time(name):
    """The answer to a second reload is not swallowed; nor is what one reads to find a fault."""
    log = Folded()
    for _ in range(3):
        log.say("reloaded", name=name)
        log.say("details", level=logging.DEBUG)
    assert len(log.lines()) == 6


def test_the_loggers_that_are_not_folded_exist():
    """They are named as the modules are that log by them."""
    for name in logs.UNFOLDED:
        assert importlib.import_module(name).log.name == name


def test_a_line_that_cannot_be_put_together_fails_nobody(written):
    """Arguments that do not fit are an error of whoever logs, and the rest of the log is as ever."""
    stream = written()
    for _ in range(2):
        logging.getLogger("agentd").warning("%d", "no number")
    logging.getLogger("agentd").info("x")
    assert [line[33:] for line in stream.getvalue().splitlines()] == ["agentd: x"]


def test_memory_for_lines_is_bounded():
    """Of the lines that are too many the oldest are told at once, and none is lost; long ones are cut."""
    log = Folded()
    for number in range(3 * LINES):
        for _ in range(2):
            log.say(f"{number} " + "x" * 10_000)
    assert LINES - 1 <= len(log.handler._folding._windows) <= LINES
    log.handler.close()
    lines = log.lines()
    assert len(lines) == 6 * LINES
    assert all(len(line) < LONGEST + 100 for line in lines if "the same" in line)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 200)), max_size=80),
    st.integers(1, 4),
)
def test_no_line_is_lost(said, lines):
    """Whatever is said when: what was passed on and what was counted come to what was said, nothing is counted for
    longer than the window, and never more lines are remembered than may be.
    """
    folding, now, told = Folding(WINDOW, lines), 0.0, dict.fromkeys(range(6), 0)

    def count(repeats):
        for each in repeats:
            assert each.times > 0
            told[each.key] += each.times

    for key, wait in said:
        now += wait
        count(folding.ended(now, room=1))
        told[key] += folding.is_new(key, str(key), now)
        assert len(folding._windows) <= lines
        assert all(now - window.began < WINDOW for window in folding._windows.values())
    count(folding.all(now))
    assert not folding._windows
    assert told == {key: sum(each == key for each, _ in said) for key in range(6)}

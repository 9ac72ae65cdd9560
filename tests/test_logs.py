"""Logs: one line a record, for people, for journald and for machines."""

import io
import json
import logging
import os
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import journald, logs

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
    shown = json.loads(text)["error"] if format == "json" else text.split("\n", 1)[1]
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
    assert not re.search(r"[\x00-\x1f]", line)
    assert json.loads(line)["message"] == message


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

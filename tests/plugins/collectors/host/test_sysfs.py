"""The reader of attributes of sysfs, and the one that asks devices which may hang."""

import asyncio
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Collector, Config, Context, Host, HostPaths
from agentd_plugins.collectors.host import _devices
from agentd_plugins.collectors.host._devices import Devices
from agentd_plugins.collectors.host._sysfs import Sysfs, decoded, number

EASY = settings(max_examples=100, deadline=None)


class Broken(Host):
    """A host whose attributes all answer with one error."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def sys(self, name, *, lasting=False):
        raise self.error


def reader(tmp_path):
    """Return a reader of what is below a folder."""
    return Sysfs(Host(HostPaths(sysfs=str(tmp_path))), logging.getLogger("agentd.test"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"42\n", 42.0),
        (b"-1\n", -1.0),
        (b"  7 \n", 7.0),
        (b"\n", None),
        (b"", None),
        (b"<unknown>\n", None),
        (b"\x00\xff", None),
        (b"9" * 30, 1e30),
    ],
)
def test_number_is_one_or_none(tmp_path, content, expected):
    """What is no number is None, whatever else it is."""
    (tmp_path / "value").write_bytes(content)
    assert reader(tmp_path).number("value") == expected


def test_count_is_never_negative(tmp_path):
    """A number that cannot be negative, but is, counts as unreadable."""
    (tmp_path / "value").write_bytes(b"-3\n")
    assert reader(tmp_path).number("value") == -3.0
    assert reader(tmp_path).count("value") is None


@pytest.mark.parametrize("error", [BlockingIOError(11, "EAGAIN"), OSError(5, "EIO"), OSError(19, "ENODEV")])
def test_errors_of_hardware_are_silent(caplog, error):
    """A sensor that refuses costs its own value, and no line of the log."""
    sysfs = Sysfs(Broken(error), logging.getLogger("agentd.test"))
    assert sysfs.number("value") is None
    assert sysfs.text("value") is None
    assert not caplog.records


def test_a_lacking_right_is_said_once(caplog):
    """However many files are refused, the log says one time which right reads them."""
    sysfs = Sysfs(Broken(PermissionError(13, "EACCES")), logging.getLogger("agentd.test"))
    assert [sysfs.text(path) for path in ("one", "two", "one")] == [None, None, None]
    assert len(caplog.records) == 1
    assert "/sys/one" in caplog.text
    assert "read-all.conf" in caplog.text


def test_numbered_names_begin_with_prefix_and_digit(tmp_path):
    """Other names, and a folder that is not there, give nothing."""
    for name in ("cpu0", "cpu10", "cpu2", "cpufreq", "cpu", "xcpu1"):
        (tmp_path / "folder" / name).mkdir(parents=True)
    assert reader(tmp_path).numbered("folder", "cpu") == ["cpu0", "cpu10", "cpu2"]
    assert reader(tmp_path).numbered("missing", "cpu") == []


def test_files_are_no_folders(tmp_path):
    """The folder ``power``, which every device has, is not among its files."""
    (tmp_path / "power").mkdir()
    (tmp_path / "power1_input").write_bytes(b"1\n")
    assert reader(tmp_path).files("") == ["power1_input"]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a\xff\xfe\xfdb", "a\ufffdb"), (b"\xe2\x82", "\ufffd"), ("\ufffd\ufffd".encode(), "\ufffd\ufffd")],
)
def test_runs_of_junk_become_one_sign(content, text):
    """Bytes that are no UTF-8 are replaced run by run; signs that were there stay as many."""
    assert decoded(content) == text


@EASY
@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(content):
    """Whatever an attribute holds, it is a number or none, and a text that can be written out."""
    assert number(content) is None or isinstance(number(content), float)
    decoded(content).encode()


class Asking(Collector[Config]):
    """A collector that asks devices, one of which may hang."""

    name = "asking"

    def __init__(self, hung):
        super().__init__(context=Context(name="collectors.asking"))
        self.hung = hung
        self.go = threading.Event()
        self.returned = threading.Event()
        self.devices = Devices(self, self.read)
        self.log = self
        self.lines = []

    def warning(self, text, *values):
        """Stand in for the log, and say when the device has answered."""
        self.lines.append(text % values)
        if "at last" in text:
            self.returned.set()

    def read(self, name):
        if name == self.hung:
            self.go.wait(30)
        return name.upper()


async def test_a_device_that_hangs_costs_only_itself(monkeypatch):
    """The others are answered, it is not asked again, and it is back once its call has returned."""
    monkeypatch.setattr(_devices, "PATIENCE", 1.0)
    asking = Asking("b")
    assert await asking.devices.ask(["a", "b", "c"]) == {"a": "A", "c": "C"}
    assert "the device b did not answer" in asking.lines[0]
    assert await asking.devices.ask(["a", "b", "c"]) == {"a": "A", "c": "C"}
    asking.go.set()
    await asyncio.to_thread(asking.returned.wait, 30)
    assert await asking.devices.ask(["a", "b", "c"]) == {"a": "A", "b": "B", "c": "C"}
    assert len(asking.lines) == 2

"""Texts whose words stay where they are, and the collectors that remember where the numbers were."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, HostPaths
from agentd_plugins.collectors.host._places import NOWHERE, Places
from agentd_plugins.collectors.host.diskstats import Diskstats
from agentd_plugins.collectors.host.loadavg import LoadAvg
from agentd_plugins.collectors.host.meminfo import Meminfo
from agentd_plugins.collectors.host.netdev import Netdev, NetdevConfig
from agentd_plugins.collectors.host.netstat import Netstat
from agentd_plugins.collectors.host.sockstat import Sockstat
from agentd_plugins.collectors.host.stat import Stat, StatConfig
from agentd_plugins.collectors.host.vmstat import Vmstat

PROC = Path(__file__).parents[3] / "fixtures" / "host" / "proc"
NOTHING = HostPaths(procfs="/nowhere", sysfs="/nowhere", udev_data="/nowhere")

COLLECTORS = {
    "diskstats": (Diskstats, None),
    "loadavg": (LoadAvg, None),
    "meminfo": (Meminfo, None),
    "net/dev": (Netdev, NetdevConfig(netlink=False)),
    "net/netstat": (Netstat, None),
    "net/snmp6": (Netstat, None),
    "net/sockstat": (Sockstat, None),
    "stat": (Stat, StatConfig(softirq=True)),
    "vmstat": (Vmstat, None),
}


def test_numbers_are_read_where_they_were():
    """While the marked words stay, the numbers are those of the new text, in the order in which they were asked for."""
    places = Places([b"a", b"1", b"b", b"2"], marks=(0, 2), numbers=(3, 1))
    assert places.read([b"a", b"5", b"b", b"6.5"]) == [6.5, 5.0]


@pytest.mark.parametrize("text", [b"a 1 c 2", b"a 1 b 2 3", b"a 1 b", b"", b"1 a 2 b"])
def test_another_text_is_noticed(text):
    """A mark that changed, and a word more or less, give no numbers."""
    assert Places([b"a", b"1", b"b", b"2"], marks=(0, 2), numbers=(1, 3)).read(text.split()) is None


def test_what_is_no_number_is_an_error():
    """A word that stands where a number was is named."""
    with pytest.raises(ValueError, match=r"expected a number behind a word that is known.*many"):
        Places([b"a", b"1"], marks=(0,), numbers=(1,)).read([b"a", b"many"])


@pytest.mark.parametrize("text", [b"", b"a", b"1 2"])
def test_nothing_is_known_at_first(text):
    """Before the first text there is none that is like it."""
    assert NOWHERE.read(text.split()) is None


class Machine:
    """A host whose files are as they are, but for one, whose contents a test changes."""

    paths = NOTHING

    def __init__(self, file):
        self.file = file
        self.text = b""

    def proc(self, name):
        return self.text if name == self.file else (PROC / name).read_bytes()

    def sys(self, name, *, lasting=False):  # as Host has it
        raise FileNotFoundError(name)

    def forget(self, folder):
        """Keep nothing, so forget nothing."""


def told(collector):
    """Return what a collector says, or that it refuses to."""
    try:
        return {family.name: (family.kind, family.label_names, family.samples) for family in collector.collect()}
    except ValueError:
        return "refused"


def changed(text, draw):
    """Return a text in which a few words are replaced, doubled or left out: numbers, names, or whole lines."""
    lines = text.split(b"\n")
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        words = lines[place].split(b" ")
        word = draw(st.integers(0, len(words) - 1))
        words[word] = draw(st.sampled_from([b"0", b"7", b"18446744073709551616", b"x", b"", b"1 2", b"kB", b"a:"]))
        lines[place : place + 1] = draw(st.sampled_from([[b" ".join(words)], [b" ".join(words), lines[place]], []]))
        if not lines:
            break
    return b"\n".join(lines)


@pytest.mark.parametrize("file", list(COLLECTORS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_was_read_before_changes_nothing(file, data):
    """Whatever becomes of a file, a collector that has read it before says what one says that reads it first."""
    kind, config = COLLECTORS[file]
    machine, original = Machine(file), (PROC / file).read_bytes()
    lasting = kind(config, Context(host=machine))
    text = original
    for _ in range(data.draw(st.integers(1, 5))):
        if data.draw(st.booleans()):
            text = changed(data.draw(st.sampled_from([text, original])), data.draw)
        machine.text = text
        assert told(lasting) == told(kind(config, Context(host=machine)))

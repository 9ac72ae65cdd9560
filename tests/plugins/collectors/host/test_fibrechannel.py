"""The collector fibrechannel."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.fibrechannel import Fibrechannel, parse


def port(sysfs, name, **files):
    """Make a port with its attributes; those whose names begin with an underscore are statistics."""
    folder = sysfs / "class/fc_host" / name
    (folder / "statistics").mkdir(parents=True)
    for file, text in files.items():
        place = folder / "statistics" / file[1:] if file.startswith("_") else folder / file
        place.write_text(f"{text}\n")


def collected(sysfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Fibrechannel(None, Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_fibrechannel_"): family.samples for family in made.collect()}


def test_collect_tells_what_a_port_is_and_counts(tmp_path):
    """Addresses lose their 0x, attributes that are missing are empty, and hexadecimal numbers are read as such."""
    port(
        tmp_path,
        "host3",
        speed="32 Gbit",
        port_state="Online",
        port_id="0x010200",
        port_name="0x100000109b000001",
        fabric_name="0x0",
        symbolic_name="a\\b",
        _rx_frames="0x1f",
        _tx_frames="0x8000000000000000",
        _nos_count="12",
    )
    assert collected(tmp_path) == {
        "info": {
            ("host3", "32 Gbit", "Online", "", "010200", "100000109b000001", "0", "a\\b", "", "", ""): 1.0,
        },
        "rx_frames_total": {("host3",): 31.0},
        "tx_frames_total": {("host3",): 2.0**63},
        "nos_total": {("host3",): 12.0},
    }


def test_what_nobody_counts_is_left_out(tmp_path):
    """The greatest number stands for a counter that the adapter lacks; junk and negative numbers are left out."""
    junk = {"_rx_words": "0xffffffffffffffff", "_tx_words": "", "_nos_count": "-0x1", "_dumped_frames": "N/A"}
    port(tmp_path, "host1", port_state="Linkdown", _error_frames="0x2", **junk)
    samples = collected(tmp_path)
    assert samples.pop("info")
    assert samples == {"error_frames_total": {("host1",): 2.0}}


@pytest.mark.parametrize("files", [{"speed": "unknown"}, {"port_state": "Unknown", "_rx_frames": "0x5"}])
def test_a_port_that_is_off_counts_nothing(tmp_path, files):
    """All counters of a port without a state, or with an unknown one, are 0, as node_exporter has them."""
    port(tmp_path, "host0", **files)
    samples = collected(tmp_path)
    assert samples.pop("info")
    assert len(samples) == 14
    assert all(values == {("host0",): 0.0} for values in samples.values())


def test_a_port_that_went_away_is_left_out(tmp_path):
    """A port of which nothing can be read any more has no samples, not even zeros."""
    port(tmp_path, "host0")
    port(tmp_path, "host1", port_state="Online")
    assert collected(tmp_path) == {"info": {("host1", "", "Online", *[""] * 8): 1.0}}


class OddHost(Host):
    """A machine whose statistics all answer with one error."""

    def __init__(self, paths, number):
        super().__init__(paths)
        self.number = number

    def sys(self, name, *, lasting=False):
        """Return a file that is no statistics."""
        if "/statistics/" in name:
            raise OSError(self.number, "odd", name)
        return super().sys(name, lasting=lasting)


@pytest.mark.parametrize(
    "number",
    [errno.EAGAIN, errno.EIO, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES],
    ids=errno.errorcode.get,
)
def test_odd_hardware_costs_its_own_samples(tmp_path, number):
    """Whatever the adapter answers in the place of statistics, the port itself is told."""
    port(tmp_path, "host0", port_state="Online", _rx_frames="0x1")
    made = Fibrechannel(None, Context(host=OddHost(HostPaths(sysfs=str(tmp_path)), number)))
    assert [family.name for family in made.collect()] == ["node_fibrechannel_info"]


def test_a_machine_without_adapters_has_no_data(tmp_path):
    """Without the class there is nothing to tell; an empty class is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/fc_host").mkdir(parents=True)
    assert collected(tmp_path) == {}


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.none(), st.text(max_size=40), st.integers().map(str), st.integers().map(hex)))
def test_parse_takes_anything(text):
    """Whatever stands in a file is a number that is not negative, or nothing."""
    value = parse(text)
    assert value is None or value >= 0


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**53))
def test_parse_reads_both_ways_of_writing(number):
    """Decimal and hexadecimal numbers are the same ones."""
    assert parse(hex(number)) == parse(str(number)) == number

"""The collector drbd."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.drbd import Drbd, parse

TWO = b"""version: 8.4.11 (api:1/proto:86-101)
srcversion: 0123456789ABCDEF01234567

 0: cs:Connected ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:10 nr:20 dw:30 dr:40 al:5 bm:6 lo:7 pe:8 ua:9 ap:11 ep:1 wo:f oos:12
\t[=>..................] sync'ed: 9.9% (1234/5678)K
\tfinish: 0:00:10 speed: 1,234 (1,234) K/sec
12: cs:WFConnection ro:Secondary/Unknown ds:Outdated/DUnknown C r-----
    ns:0 nr:x
"""


def collected(procfs):
    """Return the samples of each family by its name without what all have in common."""
    made = Drbd(None, Context(host=Host(HostPaths(procfs=str(procfs)))))
    return {family.name.removeprefix("node_drbd_"): family.samples for family in made.collect()}


def test_collect_tells_both_sides_of_each_device(tmp_path):
    """KiB become bytes (but for what was received), states are 1 or 0 for each side, and junk costs its own sample."""
    (tmp_path / "drbd").write_bytes(TWO)
    samples = collected(tmp_path)
    assert samples["network_sent_bytes_total"] == {("drbd0",): 10240.0, ("drbd12",): 0.0}
    assert samples["network_received_bytes_total"] == {("drbd0",): 20.0}
    assert samples["out_of_sync_bytes"] == {("drbd0",): 12288.0}
    assert samples["activitylog_writes_total"] == {("drbd0",): 5.0}
    assert samples["connected"] == {("drbd0",): 1.0, ("drbd12",): 0.0}
    assert samples["node_role_is_primary"] == {
        ("drbd0", "local"): 1.0,
        ("drbd0", "remote"): 0.0,
        ("drbd12", "local"): 0.0,
        ("drbd12", "remote"): 0.0,
    }
    assert samples["disk_state_is_up_to_date"]["drbd0", "local"] == 1.0
    assert samples["disk_state_is_up_to_date"]["drbd0", "remote"] == 0.0


def test_version_9_tells_nothing(tmp_path):
    """A file that has only a version in it is no failure."""
    (tmp_path / "drbd").write_bytes(b"version: 9.1.0 (api:2/proto:86-121)\nTransports (api:17):\n")
    assert collected(tmp_path) == {}


def test_a_machine_without_drbd_has_no_data(tmp_path):
    """Without the file there is nothing to tell, and that is said."""
    with pytest.raises(NoData):
        collected(tmp_path)


def test_a_state_of_one_side_only_is_told():
    """Where one of two states is missing, the other one is told all the same."""
    assert parse(b" 3: ro:Primary ds:/UpToDate") == {
        "ro": {("drbd3", "local"): 1.0},
        "ds": {("drbd3", "local"): 0.0, ("drbd3", "remote"): 1.0},
    }


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.integers(0, len(TWO)).map(lambda end: TWO[:end])))
def test_parse_takes_anything(text):
    """Binary junk and truncated files give numbers or nothing, never another error than ValueError."""
    for samples in parse(text).values():
        assert all(isinstance(value, float) for value in samples.values())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2**80))
def test_parse_reads_any_number(device, number):
    """Devices and numbers of any size arrive as they were written."""
    found = parse(b"%2d: cs:Connected\n al:%d new:7\n" % (device, number))
    assert math.isclose(found["al"][f"drbd{device}",], number)

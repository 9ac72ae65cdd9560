"""The collector tapestats."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host.tapestats import Tapestats, TapestatsConfig

FILES = {
    "in_flight": "1",
    "io_ns": "2500000000",
    "other_cnt": "3",
    "read_byte_cnt": "4096",
    "read_cnt": "5",
    "read_ns": "6000000000",
    "resid_cnt": "7",
    "write_byte_cnt": "18446744073709551615",
    "write_cnt": "9",
    "write_ns": "0",
}


def tape(sysfs, name, **files):
    """Make a tape with its statistics."""
    folder = sysfs / "class/scsi_tape" / name / "stats"
    folder.mkdir(parents=True)
    for file, text in (FILES | files).items():
        if text is not None:
            (folder / file).write_text(f"{text}\n")


def collected(sysfs, **options):
    """Return the samples of each family by its name without what all have in common."""
    made = Tapestats(TapestatsConfig(**options), Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_tape_"): family.samples for family in made.collect()}


def test_collect_tells_each_tape_once(tmp_path):
    """Nanoseconds become seconds; the other entries that a tape has are passed over."""
    for name in ("st0", "nst0", "st0a", "st0l", "st"):
        tape(tmp_path, name)
    assert collected(tmp_path) == {
        "io_now": {("st0",): 1.0},
        "io_time_seconds_total": {("st0",): 2.5},
        "io_others_total": {("st0",): 3.0},
        "read_bytes_total": {("st0",): 4096.0},
        "reads_completed_total": {("st0",): 5.0},
        "read_time_seconds_total": {("st0",): 6.0},
        "residual_total": {("st0",): 7.0},
        "written_bytes_total": {("st0",): float(2**64 - 1)},
        "writes_completed_total": {("st0",): 9.0},
        "write_time_seconds_total": {("st0",): 0.0},
    }


def test_what_cannot_be_read_is_left_out(tmp_path):
    """Missing, empty, negative and binary files cost their own samples; so does a tape that went away."""
    tape(tmp_path, "st0", in_flight=None, io_ns="", read_cnt="-1", resid_cnt="\x01\x02")
    tape(tmp_path, "st1")
    (tmp_path / "class/scsi_tape/st2").mkdir()
    samples = collected(tmp_path)
    for name in ("io_now", "io_time_seconds_total", "reads_completed_total", "residual_total"):
        assert set(samples[name]) == {("st1",)}
    assert set(samples["io_others_total"]) == {("st0",), ("st1",)}


def test_option_ignores_tapes(tmp_path):
    """A tape that the expression matches anywhere is left out."""
    tape(tmp_path, "st0")
    tape(tmp_path, "st1")
    assert set(collected(tmp_path, ignored_devices=Regex("0"))["io_now"]) == {("st1",)}


def test_a_machine_without_tapes_has_no_data(tmp_path):
    """Without the class there is nothing to tell; an empty class is an answer."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/scsi_tape").mkdir(parents=True)
    assert collected(tmp_path) == {}

"""The collector edac."""

import pytest

from agentd.plugin import Clock, Context, Host, HostPaths
from agentd_plugins.collectors.host.edac import FOLDER, SURVEY_SECONDS, Edac, digits, dimm


class Stopped(Clock):
    """A clock that goes only when it is told to."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def mc(tmp_path):
    """Return the folder of a memory controller with one row."""
    folder = tmp_path / FOLDER / "mc0"
    (folder / "csrow3").mkdir(parents=True)
    write(folder, ce_count=1, ue_count=2, ce_noinfo_count=3, ue_noinfo_count=4)
    write(
        folder / "csrow3", ce_count=5, ue_count=6, ch0_ce_count=7, ch0_ue_count=8, ch0_dimm_label="mc#0csrow#3channel#0"
    )
    write(folder / "csrow3", ch1_ce_count=9, chx_ce_count=1)
    return folder


def write(folder, **files):
    """Write attributes."""
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def collector(tmp_path):
    """Return a collector, and its clock."""
    clock = Stopped()
    return Edac(context=Context(host=Host(HostPaths(sysfs=str(tmp_path))), clock=clock)), clock


def told(edac):
    """Return the samples by the rest of each family's name."""
    return {family.name.removeprefix("node_edac_"): family.samples for family in edac.collect()}


def test_all_levels_are_counted(tmp_path, mc):
    """What belongs to no row is of the row unknown, and a module without a label is unknown."""
    assert told(collector(tmp_path)[0]) == {
        "correctable_errors_total": {("0",): 1.0},
        "uncorrectable_errors_total": {("0",): 2.0},
        "csrow_correctable_errors_total": {("0", "unknown"): 3.0, ("0", "3"): 5.0},
        "csrow_uncorrectable_errors_total": {("0", "unknown"): 4.0, ("0", "3"): 6.0},
        "channel_correctable_errors_total": {
            ("0", "3", "0", "mc0_csrow3_channel0"): 7.0,
            ("0", "3", "1", "unknown"): 9.0,
        },
        "channel_uncorrectable_errors_total": {("0", "3", "0", "mc0_csrow3_channel0"): 8.0},
    }


def test_odd_files_cost_only_themselves(tmp_path, mc):
    """An empty, a negative and a missing number are left out."""
    edac, _ = collector(tmp_path)
    edac.collect()
    (mc / "ce_count").write_bytes(b"")
    (mc / "ue_count").write_bytes(b"-1\n")
    (mc / "csrow3" / "ch0_ue_count").unlink()
    names = set(told(edac))
    assert "csrow_correctable_errors_total" in names
    assert not names & {
        "correctable_errors_total",
        "uncorrectable_errors_total",
        "channel_uncorrectable_errors_total",
    }


def test_new_rows_are_found_after_a_while(tmp_path, mc):
    """Counts are of the moment; the list of rows is looked for anew after a minute."""
    edac, clock = collector(tmp_path)
    edac.collect()
    (mc / "csrow4").mkdir()
    write(mc / "csrow4", ce_count=11)
    write(mc, ce_count=100)
    before = told(edac)
    assert before["correctable_errors_total"] == {("0",): 100.0}
    assert ("0", "4") not in before["csrow_correctable_errors_total"]
    clock.now += SURVEY_SECONDS + 1
    assert told(edac)["csrow_correctable_errors_total"]["0", "4"] == 11.0


def test_without_a_driver_there_is_nothing(tmp_path):
    """That is no failure: node_exporter answers nothing either."""
    assert collector(tmp_path)[0].collect() == []


def test_names():
    """Digits end where other signs begin, and a label has underscores where dashboards expect them."""
    assert digits("mc12x", "mc") == "12"
    assert dimm("CPU#1channel#2") == "CPU1_channel2"

"""The collector infiniband."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors.host import _infiniband
from agentd_plugins.collectors.host.infiniband import COUNTERS, Infiniband, InfinibandConfig


def port(sysfs, device, number, **files):
    """Make a port with its files; two underscores stand for a slash."""
    folder = sysfs / "class/infiniband" / device / "ports" / number
    about = {"state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "100 Gb/sec (4X EDR)"} | files
    for name, text in about.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


def collected(sysfs, **options):
    """Return the samples of each family by its name without what all have in common."""
    made = Infiniband(InfinibandConfig(**options), Context(host=Host(HostPaths(sysfs=str(sysfs)))))
    return {family.name.removeprefix("node_infiniband_"): family.samples for family in made.collect()}


def test_collect_tells_adapters_and_ports(tmp_path):
    """Each port tells its states, rate and counters; counts of data are told in bytes, the lifespan in seconds."""
    port(
        tmp_path,
        "mlx5_0",
        "1",
        counters__port_rcv_data="10",
        counters__port_rcv_packets="11",
        counters__VL15_dropped="12",
        counters_ext__port_xmit_data_64="13",
        hw_counters__lifespan="2500",
        hw_counters__rp_cnp_handled="14",
        hw_counters__something_new="15",
    )
    for name, text in (("board_id", "MT_0001"), ("fw_ver", "16.1"), ("hca_type", "MT4119")):
        (tmp_path / "class/infiniband/mlx5_0" / name).write_text(f"{text}\n")
    samples = collected(tmp_path)
    assert samples.pop("info") == {("mlx5_0", "MT_0001", "16.1", "MT4119"): 1.0}
    assert {name: values["mlx5_0", "1"] for name, values in samples.items()} == {
        "state_id": 4.0,
        "physical_state_id": 5.0,
        "rate_bytes_per_second": 12.5e9,
        "port_data_received_bytes_total": 40.0,
        "port_packets_received_total": 11.0,
        "vl15_dropped_total": 12.0,
        "legacy_data_transmitted_bytes_total": 52.0,
        "lifespan_seconds": 2.0,
        "rp_cnp_packets_handled_total": 14.0,
    }


def test_what_cannot_be_read_is_left_out(tmp_path):
    """Counters that are not available, negative or junk cost their own samples; so do states and rates."""
    junk = {"state": "", "phys_state": "what", "rate": "fast"}
    counters = {
        "counters__link_downed": "N/A (no PMA)",
        "counters__symbol_error": "-1",
        "counters__port_xmit_wait": "7",
    }
    port(tmp_path, "irdma0", "1", **junk, **counters)
    (tmp_path / "class/infiniband/irdma0/ports/x").mkdir()
    (tmp_path / "class/infiniband/gone").mkdir()
    samples = collected(tmp_path)
    assert samples.pop("info") == {("irdma0", "", "", ""): 1.0, ("gone", "", "", ""): 1.0}
    assert samples == {"port_transmit_wait_total": {("irdma0", "1"): 7.0}}


@pytest.mark.parametrize("option", [{"device_include": Regex("^b$")}, {"device_exclude": Regex("a")}])
def test_options_choose_adapters(tmp_path, option):
    """Adapters are included or excluded by an expression."""
    port(tmp_path, "a", "1")
    port(tmp_path, "b", "1")
    assert set(collected(tmp_path, **option)["state_id"]) == {("b", "1")}


def test_include_and_exclude_contradict_each_other():
    """Both options at once are an error that names the two."""
    with pytest.raises(ValueError, match="device_exclude and device_include"):
        InfinibandConfig(device_include=Regex("a"), device_exclude=Regex("b"))


def test_no_adapters(tmp_path):
    """A kernel without the module has no data; one without adapters answers."""
    with pytest.raises(NoData):
        collected(tmp_path)
    (tmp_path / "class/infiniband").mkdir(parents=True)
    assert collected(tmp_path) == {}


def test_every_counter_has_its_own_name():
    """No two files share a metric, and all metrics are named as counters are."""
    names = [metric.name for metric in Infiniband.counters.values()]
    assert len(set(names)) == len(names) == len(COUNTERS)
    assert all(name.startswith("node_infiniband_") and name.endswith("_total") for name in names)


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parsers_return_a_number_or_none(content):
    """Whatever a file holds, it is a number that is not negative, or none."""
    for parse in (_infiniband.count, _infiniband.state, _infiniband.rate):
        number = parse(content)
        assert number is None or 0 <= number <= 2**64


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_count_takes_what_the_kernel_can_count(number):
    """All numbers of 64 bits are taken, larger ones are not."""
    assert _infiniband.count(str(number)) == float(number)
    assert _infiniband.count(str(number + 2**65)) is None
    assert _infiniband.count("9" * 5000) is None

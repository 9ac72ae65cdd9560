"""The collector rapl."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.rapl import FOLDER, Rapl, RaplConfig, indexed


class UnprivilegedHost(Host):
    """A host on which only root may know the energy."""

    def sys(self, name, *, lasting=False):
        if name.endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", name)
        return super().sys(name)


def machine(tmp_path, host=Host, **options):
    """Return the collector on a machine with three zones, a control type, and a zone without a counter."""
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "dram",
        "intel-rapl:1:0": "dram",
        "mmio:0": "package-0-die-1",
    }
    for place, (folder, name) in enumerate(zones.items(), 1):
        (tmp_path / FOLDER / folder).mkdir(parents=True)
        (tmp_path / FOLDER / folder / "name").write_text(f"{name}\n")
        (tmp_path / FOLDER / folder / "energy_uj").write_text(f"{place}500000\n")
    (tmp_path / FOLDER / "intel-rapl").mkdir()
    (tmp_path / FOLDER / "broken").mkdir()
    (tmp_path / FOLDER / "broken" / "name").write_text("psys\n")
    return Rapl(RaplConfig(**options), Context(host=host(HostPaths(sysfs=str(tmp_path)))))


def told(collector, tmp_path):
    """Return the samples by family, with the folder of the machine taken from the paths."""
    start = f"{tmp_path}/{FOLDER}/"
    return {
        family.name: {(key[0], key[1].removeprefix(start), *key[2:]): value for key, value in family.samples.items()}
        for family in collector.collect()
    }


def test_each_name_has_a_family(tmp_path):
    """The number in a name is its index, names without one are counted; a zone without a counter is left out."""
    assert told(machine(tmp_path), tmp_path) == {
        "node_rapl_package_joules_total": {("0", "intel-rapl:0"): 1.5},
        "node_rapl_dram_joules_total": {("0", "intel-rapl:0:0"): 2.5, ("1", "intel-rapl:1:0"): 3.5},
        "node_rapl_package_0_die_1_joules_total": {("0", "mmio:0"): 4.5},
    }


def test_the_name_may_be_a_label(tmp_path):
    """With the option there is one family."""
    families = told(machine(tmp_path, enable_zone_label=True), tmp_path)
    assert set(families) == {"node_rapl_joules_total"}
    assert families["node_rapl_joules_total"]["1", "intel-rapl:1:0", "dram"] == 3.5


def test_energy_needs_a_right(tmp_path, caplog):
    """Where no counter may be read there is no data, and the log says once what is lacking."""
    collector = machine(tmp_path, UnprivilegedHost)
    for _ in range(2):
        with pytest.raises(NoData):
            collector.collect()
    assert len(caplog.records) == 1
    assert "read-all.conf" in caplog.text


def test_without_counters_there_is_no_data(tmp_path):
    """A machine without powercap is no failure."""
    with pytest.raises(NoData):
        Rapl(context=Context(host=Host(HostPaths(sysfs=str(tmp_path))))).collect()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab-01", max_size=6)))
def test_indexed_keeps_the_order_and_tells_zones_apart(names):
    """Each name has an answer, and those without a number are told apart by index and name."""
    answers = list(indexed(names))
    assert len(answers) == len(names)
    plain = [answer for answer, name in zip(answers, names, strict=True) if "-" not in name]
    if not any("-" in name for name in names):
        assert len(set(plain)) == len(plain)

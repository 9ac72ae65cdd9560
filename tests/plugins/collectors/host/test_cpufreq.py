"""The collector cpufreq."""

import asyncio

import pytest

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.cpufreq import FOLDER, Cpufreq


class CountingHost(Host):
    """A host that counts what is read."""

    def __init__(self, paths):
        super().__init__(paths)
        self.reads = []

    def sys(self, name, *, lasting=False):
        self.reads.append(name)
        return super().sys(name)


@pytest.fixture
def cpus(tmp_path):
    """Return the folder of a machine with two CPUs, of which the second has a frequency that is not known."""
    folder = tmp_path / FOLDER
    for cpu, current in (("cpu0", "1800000"), ("cpu1", "<unknown>")):
        (folder / cpu / "cpufreq").mkdir(parents=True)
        files = {"scaling_cur_freq": current, "scaling_governor": "ondemand", "cpuinfo_max_freq": "2400000"}
        files["scaling_available_governors"] = "ondemand performance "
        for name, content in files.items():
            (folder / cpu / "cpufreq" / name).write_text(f"{content}\n")
    (folder / "offline").write_text("\n")
    (folder / "cpufreq").mkdir()
    return folder


def answer(host):
    """Return what the collector says, in a worker where it has to ask."""
    families = Cpufreq(context=Context(host=host)).collect()
    return families if isinstance(families, list) else asyncio.run(families)


def told(tmp_path):
    """Return the samples by family."""
    families = answer(Host(HostPaths(sysfs=str(tmp_path))))
    return {family.name.removeprefix("node_cpu_"): family.samples for family in families}


def test_kilohertz_become_hertz(tmp_path, cpus):
    """Each file has its family, the governors a sample each; what is no number is left out."""
    assert told(tmp_path) == {
        "frequency_max_hertz": {("0",): 2.4e9, ("1",): 2.4e9},
        "scaling_frequency_hertz": {("0",): 1.8e9},
        "scaling_governor": {
            ("0", "ondemand"): 1.0,
            ("0", "performance"): 0.0,
            ("1", "ondemand"): 1.0,
            ("1", "performance"): 0.0,
        },
    }


@pytest.mark.parametrize("offline", ["1\n", "1-7\n"])
def test_cpus_that_are_off_are_left_out(tmp_path, cpus, offline):
    """What their files say is of the past."""
    (cpus / "offline").write_text(offline)
    assert told(tmp_path)["frequency_max_hertz"] == {("0",): 2.4e9}


def test_a_broken_list_of_cpus_is_as_none(tmp_path, cpus):
    """Rather than nothing, all CPUs are told."""
    (cpus / "offline").write_bytes(b"\xff-x")
    assert set(told(tmp_path)["frequency_max_hertz"]) == {("0",), ("1",)}


def test_a_shared_policy_is_read_once(tmp_path):
    """CPUs whose frequency is set together have the same numbers, for one reading."""
    policy = tmp_path / FOLDER / "cpufreq" / "policy0"
    policy.mkdir(parents=True)
    (policy / "scaling_cur_freq").write_text("1000\n")
    for cpu in ("cpu0", "cpu1", "cpu2"):
        (tmp_path / FOLDER / cpu).mkdir()
        (tmp_path / FOLDER / cpu / "cpufreq").symlink_to("../cpufreq/policy0")
    host = CountingHost(HostPaths(sysfs=str(tmp_path)))
    (family,) = answer(host)
    assert family.samples == {("0",): 1e6, ("1",): 1e6, ("2",): 1e6}
    assert len([name for name in host.reads if name.endswith("scaling_cur_freq")]) == 1


def test_no_frequencies_is_no_failure(tmp_path):
    """A virtual machine's CPUs have none."""
    (tmp_path / FOLDER / "cpu0").mkdir(parents=True)
    assert told(tmp_path) == {}

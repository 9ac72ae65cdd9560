"""Odd hardware: whatever a file holds or answers, a collector leaves out what it said and keeps the rest.

Each kind of file that a collector reads in node_exporter's own fixtures is broken in some thirty ways, one at a time.
"""

import asyncio
import errno
import inspect
import re
import subprocess

import pytest

from agentd.config import read, resolve
from agentd.metrics.admission import Admission
from agentd.plugin import Context
from agentd.registry import Registry
from agentd.testing import fuzz_collector
from agentd.testing.faults import OddHost, kinds

COLLECTORS = (
    "arp bcache bcachefs bonding btrfs buddyinfo cgroups conntrack cpu cpu_vulnerabilities cpufreq diskstats dmi "
    "dmmultipath drbd edac entropy fibrechannel filefd hwmon infiniband interrupts ipvs kernel_hung ksmd lnstat "
    "loadavg mdadm meminfo meminfo_numa mountstats netclass netstat nfs nfsd nvme nvmesubsystem pcidevice "
    "powersupplyclass pressure processes rapl schedstat slabinfo sockstat softirqs softnet stat swap sysctl tapestats "
    "thermal_zone time udp_queues vmstat watchdog xfrm xfs zfs zoneinfo"
).split()

OTHERS = {"netdev", "os", "textfile"}
"""Collectors of the fixtures that read no file by way of the Host."""

LIST = "bonding_masters"
"""The one file of sysfs without which nothing is known of the rest."""

DEVICE = re.compile(
    r".*/(class/[^/]+|block|bus/[^/]+/devices|fs/[^/]+|devices/system/(?:cpu|node|edac/mc))/([^/]+)/(?=.)"
)

FAULTS = 2000
"""How many faults a collector suffers, roughly: one with hundreds of files does not suffer all of them in each."""

LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module")
def make(shared, tmp_path_factory):
    """Returns a new collector of the fixtures, by its name, with the settings of node_exporter's own run."""
    folder = tmp_path_factory.mktemp("odd")
    source = shared / "node_exporter"
    subprocess.run(["tar", "-xzf", str(source / "fixtures.tar.gz"), "-C", str(folder)], check=True)
    configuration = folder / "agentd.toml"
    text = (source / "agentd.toml").read_text().replace("@FIXTURES@", str(folder))
    configuration.write_text(text.replace("enable = [", 'enable = ["nvmesubsystem", "softirqs", "swap", '))
    registry = Registry([])
    settings = resolve(read(configuration), registry)
    found = {one.name: one for one in settings.instances if one.kind == "collectors"}

    async def at_once(function, *arguments):
        return function(*arguments)

    def collector(name):
        context = Context(name=name, host=OddHost(settings.host), in_worker=at_once)
        return registry.plugin_class("collectors", name)(found[name].config, context)

    yield collector
    LOOP.close()


def told(collector):
    """Return what a collector says by name and labels; fails where the agent would refuse some of it."""
    returned = collector.collect()
    if inspect.isawaitable(returned):
        returned = LOOP.run_until_complete(asyncio.wait_for(returned, 10))
    families, rejections = Admission(100_000).admit(returned)
    assert not rejections
    return {(family.name, labels): value for family in families for labels, value in family.samples.items()}


@pytest.mark.parametrize("name", list(COLLECTORS))
def test_no_file_breaks_a_collector(make, name):
    """Any fault of any file leaves valid families without NaN, or an error that names it; then all is as before."""
    one = make(name)
    paths = one.host.paths
    fuzz_collector(
        type(one),
        config=one.config,
        root=paths,
        limit=FAULTS,
        # An attribute of a device is no reason to tell nothing: it costs what it would have told.
        may_fail=lambda path: path.startswith(paths.procfs) or path.endswith(LIST),
        # Another good answer is no fault: it is remembered, and rightly.
        is_fault=lambda path, fault: not path.endswith("/rotational") or fault not in (b"0", b"1", b"0\n", b"1\n"),
    )


@pytest.mark.parametrize("name", COLLECTORS)
def test_a_device_that_fails_costs_no_other_one_a_sample(make, name):
    """Devices that vanish between listing and reading, or are broken whole or in part, take along their own series."""
    collector = make(name)
    expected = told(collector)
    devices = {}
    for path in collector.host.told:
        if match := DEVICE.match(path):
            devices.setdefault(match[1], {}).setdefault(match[2], []).append(path)
    for siblings in devices.values():
        own = {}
        for device, paths in siblings.items() if len(siblings) > 1 else ():
            lost = []
            for fault in (errno.ENODEV, errno.EIO, errno.EAGAIN, b"", b"\xff\x00 nan\n"):
                for one in (collector, make(name)):
                    one.host.odd = dict.fromkeys(paths, fault)
                    lost.append(expected.keys() - told(one).keys())
                LOOP.run_until_complete(one.stop())
            own[device] = set.union(*lost)
            for path in kinds(paths):
                collector.host.odd = {path: errno.EIO}
                assert expected.keys() - told(collector).keys() <= own[device], path
            collector.host.odd = {}
        unnamed = [series for device, lost in own.items() for series in lost if device not in series[1]]
        assert len(unnamed) == len(set(unnamed)), "two devices cost the same series"


def test_no_collector_is_forgotten(make, shared):
    """Each collector of that run which reads by way of the Host is tried."""
    text = (shared / "node_exporter" / "agentd.toml").read_text()
    enabled = set(re.findall(r'"(\w+)"', re.search(r"enable = \[(.*?)\]", text, re.DOTALL)[1]))
    assert enabled - set(COLLECTORS) == OTHERS
    for name in OTHERS:
        collector = make(name)
        assert told(collector)
        assert not collector.host.told
        LOOP.run_until_complete(collector.stop())

"""Odd hardware: whatever a file holds or answers, a collector leaves out what it said and keeps the rest.

Each kind of file that a collector reads in node_exporter's own fixtures is broken in some thirty ways, one at a time.
"""

import asyncio
import errno
import inspect
import os
import re
import subprocess
from math import isfinite
from random import Random

import pytest

from agentd.config import read, resolve
from agentd.metrics.admission import Admission
from agentd.plugin import Context, Host, NoData
from agentd.registry import Registry

COLLECTORS = (
    "arp bcache bcachefs bonding btrfs buddyinfo cgroups conntrack cpu cpu_vulnerabilities cpufreq diskstats dmi "
    "dmmultipath drbd edac entropy fibrechannel filefd hwmon infiniband interrupts ipvs kernel_hung ksmd lnstat "
    "loadavg mdadm meminfo meminfo_numa mountstats netclass netstat nfs nfsd nvme nvmesubsystem pcidevice "
    "powersupplyclass pressure processes rapl schedstat slabinfo sockstat softirqs softnet stat swap sysctl tapestats "
    "thermal_zone time udp_queues vmstat watchdog xfrm xfs zfs zoneinfo"
).split()

OTHERS = {"netdev", "os", "textfile"}
"""Collectors of the fixtures that read no file by way of the Host."""

ERRORS = ("ENOENT", "EAGAIN", "EIO", "ENODEV", "EACCES", "EINVAL", "ENXIO", "EOPNOTSUPP")

FOR_GOOD = {errno.ENOENT, errno.EOPNOTSUPP}
"""What a collector may take to hold until the next boot."""

LIST = "bonding_masters"
"""The one file of sysfs without which nothing is known of the rest."""

NUMBER = re.compile(rb"(?<![\w.-])\d+")
DEVICE = re.compile(
    r".*/(class/[^/]+|block|bus/[^/]+/devices|fs/[^/]+|devices/system/(?:cpu|node|edac/mc))/([^/]+)/(?=.)"
)

FAULTS = 2000
"""How many faults a collector suffers, roughly: one with hundreds of files does not suffer all of them in each."""

LOOP = asyncio.new_event_loop()


class OddHost(Host):
    """A host that notes what is read, and on which some files hold something else, or answer with an error."""

    def __init__(self, paths):
        super().__init__(paths)
        self.told = {}
        self.odd = {}

    def proc(self, name):
        return self._read(f"{self.paths.procfs}/{name}", lambda: super(OddHost, self).proc(name))

    def sys(self, name, *, lasting=False):
        return self._read(f"{self.paths.sysfs}/{name}", lambda: super(OddHost, self).sys(name)).rstrip(b"\n")

    def _read(self, path, content):
        if path not in self.odd:
            self.told[path] = content()
            return self.told[path]
        if isinstance(self.odd[path], int):
            raise OSError(self.odd[path], os.strerror(self.odd[path]), path)
        return self.odd[path]


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


def told_or_refused(collector, path):
    """Return the same, or nothing where the collector says that there is nothing, or that this file is broken.

    An attribute of a device is no reason to say so: it costs what it would have told.
    """
    try:
        return told(collector)
    except NoData:
        return {}
    except (OSError, ValueError) as error:
        refused = error
    assert isinstance(refused, OSError) or type(refused) is ValueError
    assert path in str(refused)
    assert path.startswith(collector.host.paths.procfs) or path.endswith(LIST)
    return {}


def contents(content, random):
    """Return what may stand in a file instead of this."""
    lines = content.split(b"\n")
    return [
        b"",
        b"\n",
        content[: random.randrange(len(content) + 1)],
        content[: random.randrange(len(content) + 1)],
        b"\n".join(line for line in lines if random.random() < 0.5),
        b"\n".join(line.rpartition(b" ")[0] for line in lines),
        b"\n".join(line + b" 1 more" for line in lines),
        content + b"\n" + content,
        random.randbytes(200),
        bytes(random.choices(range(32, 127), k=300)),
        b"\xff\xfe\n" + content,
        re.sub(rb"[A-Za-z]", b"\xff", content, count=20),
        content.replace(b" ", b":"),
        NUMBER.sub(rb"-\g<0>", content),
        NUMBER.sub(b"0", content),
        NUMBER.sub(b"18446744073709551615", content),
        NUMBER.sub(b"9" * 30, content),
        NUMBER.sub(b"none", content),
        NUMBER.sub(b"", content),
    ]


def kinds(paths):
    """Return one path of those that differ in their numbers only, as they do from one device to the next alike."""
    return {re.sub(r"\d+", "0", path): path for path in paths}.values()


@pytest.mark.parametrize("name", list(COLLECTORS))
def test_no_file_breaks_a_collector(make, name):
    """Any fault of any file leaves valid families without NaN, or an error that names it; then all is as before."""
    collector = make(name)
    expected = told(collector)
    files = dict(collector.host.told)
    assert files
    for path in kinds(files):
        random = Random(path.rpartition("fixtures")[2])
        faults = [*contents(files[path], random), *(getattr(errno, error) for error in ERRORS)]
        if path.startswith(collector.host.paths.sysfs) and NUMBER.fullmatch(files[path].strip()):  # a driver's answer
            faults += [b"nan\n", b"inf\n", b"9" * 400]
        if path.endswith("/rotational"):  # another good answer is no fault: it is remembered, and rightly
            faults = [fault for fault in faults if fault not in (b"0", b"1", b"0\n", b"1\n")]
        for fault in random.sample(faults, min(len(faults), max(4, FAULTS // len(files)))):
            one = make(name) if fault in FOR_GOOD or random.random() < 0.5 else collector
            one.host.odd = {path: fault}
            found = told_or_refused(one, path)
            assert all(isfinite(value) for value in found.values() if isinstance(value, float)), (path, fault)
            one.host.odd = {}
            if one is not collector:
                LOOP.run_until_complete(one.stop())
    assert told(collector).keys() == expected.keys()


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

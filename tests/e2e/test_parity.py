"""agentd beside Debian's node_exporter (1.5.0) on one machine, which was made interesting: see interesting_host.py."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOST = Path(__file__).with_name("interesting_host.py")

NAMESPACES = ["--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child", "--propagation", "private"]

BY_VERSION = {
    r'node_disk_\w+\{device="zram\d+".*': "since 1.6 compressed RAM disks are left out by default",
    r"node_filesystem_\w+\{.*\\040.*": "1.5 does not undo the kernel's escapes in names of devices",
    r'node_filesystem_\w+\{device="source of it".*': "the same series as agentd tells it, as 1.12 does",
    r'node_filesystem_\w+\{device="hanging".*': "1.9 brought the label device_error, and with it a mount that hangs",
    r'node_filesystem_\w+\{.*mountpoint="/(run|mnt|media)(/[^"]*)?".*': "Debian leaves these folders out by default",
    r'node_network_\w+_total\{device="lo"\}': "Debian has its own default for netdev, without lo",
    r"node_processes_state\{.*": "a state in which no process is at the moment has no series",
    r"node_memory_(KReclaimable|FileHugePages|FilePmdMapped|Hugetlb|SecPageTables|Balloon)_bytes": "told until 1.8",
    r'node_scrape_collector_success\{collector="systemd"\}': "on by default in Debian alone",
    r'node_scrape_collector_success\{collector="(bcachefs|dmmultipath|kernel_hung|watchdog)"\}': "came after 1.5",
}
"""Series that may be there on one side alone, and why. All else has to be the same."""


@pytest.fixture(scope="module")
def found(server_binary, tmp_path_factory):
    """What users of the one would notice at the other."""
    binary = server_binary("prometheus-node-exporter")
    if (
        os.geteuid() != 0
        or subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("only root may make namespaces with devices and mounts of their own")
    folder = tmp_path_factory.mktemp("host")
    command = ["unshare", *NAMESPACES, sys.executable, str(HOST), str(folder), binary]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr + (folder / "log").read_text("utf-8", "replace")[-3000:]
    print(done.stderr)  # what could not be made here
    return {**json.loads(done.stdout), "folder": str(folder)}


def unexplained(series, folder):
    """Return the series that no difference between the versions explains."""
    patterns = [re.compile(pattern.replace("FOLDER", re.escape(folder[1:]))) for pattern in BY_VERSION]
    return [each for each in series if not any(pattern.fullmatch(each) for pattern in patterns)]


def test_no_metric_is_missing_or_of_another_kind(found):
    """Every metric that node_exporter has here agentd has too, of the same kind; and they are many."""
    assert (found["missing"], found["kinds"]) == ({}, {})
    assert len(found["alike"]) > 250


def test_labels_are_the_same(found):
    """No series has further labels, but for those that came with versions 1.6, 1.9 and 1.10."""
    assert found["labels"] == {
        "node_disk_info": ["rotational"],
        "node_filesystem_device_error": ["device_error"],
        "node_network_info": ["adminstate"],
    }


@pytest.mark.parametrize("side", ["missing_series", "added_series"])
def test_series_are_the_same(found, side):
    """Of every metric that both have, the series are the same, but for what the versions do differently."""
    differing = {name: unexplained(series, found["folder"]) for name, series in found[side].items()}
    assert {name: series for name, series in differing.items() if series} == {}


MOVING = re.compile(
    r"node_(procs|processes|slabinfo|zoneinfo|buddyinfo|interrupts|vmstat|cgroups|disk|sockstat|filefd|memory|netstat|entropy|load|udp_queues|tcp_connection_states|network_.*_queue)"
)
"""What each of the two changes by looking (its own process, connection, files), and what the kernel always moves."""


def test_values_are_the_same(found):
    """What stands still is equal, and what moves is where the other saw it move.

    What the looking itself changes may differ by twelve (processes, sockets, pages of sockets) or by a quarter.
    """
    apart = {}
    for series, (there, here) in found["values"].items():
        unit = 4096 if "mem_bytes" in series else 1
        near = abs(there[-1] - here[-1]) <= max(12 * unit, abs(there[-1]) / 4)
        lively = series.startswith("node_slabinfo_")  # how full caches are follows each of the two programs' own work
        if not lively and not (MOVING.match(series) and near):
            apart[series] = there, here
    assert apart == {}

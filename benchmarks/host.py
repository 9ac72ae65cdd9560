"""All default collectors beside node_exporter's: on this machine as it is, and on one with many devices and mounts."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agentd_plugins import DEFAULTS
from benchmarks.figures import row, spread, title
from benchmarks.processes import Server, agentd, bare_aiohttp, node_exporter, offered
from benchmarks.scrape import measure, series

ROUNDS = 5
INTERFACES, MOUNTS, DEVICES = 64, 200, 64
ALL_DEVICES = '[collectors.diskstats]\ndevice_exclude = ""\n'


def run() -> None:
    """Measure here, and once more among many devices, in namespaces that end with the measurement."""
    compare("as it is")
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command, "-m", "benchmarks.host", folder], check=False)
    if done.returncode:
        row("among many devices", "not measured: only root may make them")


def compare(where: str) -> None:
    """Scrape both in turn, with the collectors that both have, and print what that costs."""
    both = tuple(name for name in DEFAULTS["collectors"] if name in offered())
    off = sorted(set(DEFAULTS["collectors"]) - set(both))
    configuration = f"[collectors]\ndisable = {off}\n{ALL_DEVICES}"
    title(f"One scrape with gzip, the {len(both)} default collectors that both have, {where}")
    with (
        agentd(configuration) as ours,
        node_exporter(both, "--collector.diskstats.device-exclude=^$") as theirs,
        bare_aiohttp() as bare,
    ):
        cpu: dict[Server, list[float]] = {ours: [], theirs: []}
        times: dict[Server, list[float]] = {ours: [], theirs: []}
        for server in cpu:
            measure(server)
        for _ in range(ROUNDS):
            for server, used in cpu.items():
                seconds, took = measure(server)
                used.append(seconds * 1e3)
                times[server] += [each * 1e3 for each in took]
        for _ in range(1000):
            bare.scrape()
        row("series, agentd / node_exporter", f"{series(ours)} / {series(theirs)}")
        row("CPU a scrape, agentd", spread(cpu[ours], " ms"))
        row("CPU a scrape, node_exporter", spread(cpu[theirs], " ms"))
        ratios = [one / other for one, other in zip(cpu[ours], cpu[theirs], strict=True)]
        row("CPU a scrape, ratio", spread(ratios, digits=3), "reach 0.20")
        for name, part in (("median", 0.5), ("99th percentile", 0.99)):
            one, other = (sorted(times[server])[int(len(times[server]) * part)] for server in (ours, theirs))
            row(f"time a scrape, {name}", f"{one:.2f} ms / {other:.2f} ms = {one / other:.2f}", "reach 0.25")
        size = ours.resident() / bare.resident()
        row("resident memory, over a bare aiohttp server", f"{ours.resident():.1f} MiB, {size:.2f} ×", "reach 1.3 ×")


def crowd(folder: Path) -> None:
    """Make interfaces, mounts and block devices. Raises ``CalledProcessError`` where that is not allowed."""
    subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for number in range(INTERFACES // 2):
        pair = ["ip", "link", "add", f"left{number}", "up", "type", "veth", "peer", "name", f"right{number}"]
        subprocess.run(pair, check=True)
    for number in range(MOUNTS):
        place = folder / f"mount{number}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)


@contextlib.contextmanager
def block_devices(folder: Path) -> Iterator[None]:
    """Make loop devices, which belong to the whole machine; they go at the end."""
    made = []
    try:
        for number in range(DEVICES):
            image = folder / f"image{number}"
            with image.open("wb") as file:
                file.truncate(1 << 20)
            found = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True)
            made.append(found.stdout.strip())
        yield
    finally:
        for device in made:
            subprocess.run(["losetup", "--detach", device], check=False)


if __name__ == "__main__":
    with block_devices(Path(sys.argv[1])):
        crowd(Path(sys.argv[1]))
        compare(f"with {INTERFACES} interfaces, {MOUNTS} mounts and {DEVICES} block devices more")
    os._exit(0)

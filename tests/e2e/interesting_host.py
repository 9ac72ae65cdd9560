"""Run as the first process of namespaces of its own: makes the machine in them interesting, runs node_exporter and
agentd side by side, and prints as JSON what users of the one would notice at the other.

Nothing of it is seen outside: network, mounts and processes are those of the namespaces, and end with this process.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path

from agentd.cli.compare import ROUNDS, Seen, differences, spelled

THEIRS, OURS = 9100, 9797

ADDITIONAL = (
    "buddyinfo cgroups drbd ethtool interrupts ksmd lnstat meminfo_numa network_route processes qdisc "
    "slabinfo sysctl tcpstat wifi zoneinfo"
).split()
"""Collectors that both have and that neither runs by default."""


def shell(command: str) -> bool:
    """Run a command; say whether it worked."""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"not here: {command}: {done.stderr.strip()}", file=sys.stderr)
    return done.returncode == 0


def network() -> list[socket.socket]:
    """Make devices of several kinds, an ARP table, and sockets in many states; return what has to stay open."""
    shell("ip link set lo up")
    shell("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up mtu 1400")
    shell("ip addr add 10.7.0.1/24 dev v0 && ip addr add fd00:7::1/64 dev v0 nodad")
    shell("ip link add br0 type bridge && ip link set v1 master br0 && ip link set br0 up alias 'a b'")
    for kind in ("dummy", "bond", "ifb", "vcan"):
        shell(f"ip link add {kind}7 type {kind} && ip link set {kind}7 up")
    shell("ip link add link v0 name v0.5 type vlan id 5")
    shell("ip tuntap add dev tap7 mode tap && ip link set tap7 up")
    for host in range(2, 6):
        shell(f"ip neigh add 10.7.0.{host} lladdr 02:00:00:00:00:0{host} dev v0 nud permanent")
    shell("ip route add 10.9.0.0/16 via 10.7.0.2 dev v0")
    shell("tc qdisc add dev v0 root pfifo limit 100")
    shell("ping -c 1 -W 1 127.0.0.1")
    kept = []
    listening = socket.create_server(("127.0.0.1", 0))
    kept.append(listening)
    for _ in range(3):
        client = socket.create_connection(listening.getsockname())
        server, _address = listening.accept()
        kept += [client, server]
    kept[1].close()  # CLOSE_WAIT on the other side, and FIN_WAIT2 here
    for family in (socket.AF_INET, socket.AF_INET6):
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        datagrams.sendto(b"to nobody who reads", datagrams.getsockname())
        kept.append(datagrams)
    kept.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with contextlib.suppress(OSError):
        kept.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    return kept


def mounts(folder: Path) -> list[int]:
    """Mount file systems in places with odd names, one of which hangs; return what has to stay open."""
    for name in ("plain", "with blank", 'with "quotes"', "with \\backslash", "tab\there", "ünï"):
        place = folder / name
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "source of it", place], check=True)
    (folder / "plain" / "inner").mkdir()
    subprocess.run(["mount", "--bind", folder / "with blank", folder / "plain" / "inner"], check=True)
    (folder / "twice").mkdir()
    for size in ("1m", "2m"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"ro,size={size}", "tmpfs", folder / "twice"], check=True)
    image, place = folder / "image", folder / "loop"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    shell(f"mkfs.ext4 -q '{image}' && mount -o loop '{image}' '{place}'")
    return hanging(folder / "hangs")


def hanging(place: Path) -> list[int]:
    """Mount a file system whose server never answers."""
    place.mkdir()
    try:
        descriptor = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        print(f"not here: a mount that hangs: {error}", file=sys.stderr)
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"hanging", os.fsencode(place), b"fuse", 0, options):
        print(f"not here: a mount that hangs: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    return [descriptor]


def main() -> None:
    """Make it interesting, run both, compare them."""
    folder = Path(sys.argv[1])
    binary = sys.argv[2]
    shell("mount -t sysfs sysfs /sys && mount -t tracefs tracefs /sys/kernel/tracing")
    kept = [network(), mounts(folder)]
    memory = bytearray(64 << 20)
    flags = [f"--collector.{name}" for name in ADDITIONAL if offers(binary, name)]
    theirs = [binary, f"--web.listen-address=127.0.0.1:{THEIRS}", *flags, *sys.argv[3:]]
    settings = folder / "agentd.toml"
    settings.write_text(f"[collectors]\nenable = {[name for name in ADDITIONAL if f'--collector.{name}' in flags]}\n")
    ours = [sys.executable, "-m", "agentd", "run", "--config", str(settings), "--listen", f"127.0.0.1:{OURS}"]
    environment = {**os.environ, "STATE_DIRECTORY": str(folder), "RUNTIME_DIRECTORY": str(folder)}
    with (folder / "log").open("wb") as log:
        running = [subprocess.Popen(each, stdout=log, stderr=log, env=environment) for each in (theirs, ours)]
    shown = {THEIRS: Seen(), OURS: Seen()}
    for port in shown:
        wait(port)
    for _ in range(ROUNDS):
        for port, seen in shown.items():
            seen.add(scrape(port))
            time.sleep(0.2)
    found = asdict(differences(shown[THEIRS], shown[OURS]))
    for name in ("missing", "added", "missing_series", "added_series"):
        found[name] = {metric: list(map(spelled, series)) for metric, series in found[name].items()}
    found["values"] = {spelled(series): pair for series, pair in found["values"].items()}
    print(json.dumps(found))
    for process in running:
        process.kill()
    del kept, memory
    os._exit(0)  # what hangs must not hold this up


def offers(binary: str, collector: str) -> bool:
    """Say whether this node_exporter has a collector."""
    shown = subprocess.run([binary, "--help"], capture_output=True, text=True, check=False)
    return any(f"{dashes}collector.{collector} " in shown.stdout + shown.stderr for dashes in ("--", "--[no-]"))


def scrape(port: int) -> str:
    """Return what a program answers. The first scrape of node_exporter 1.5 waits for ever for the mount that hangs."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=8) as answer:
        return answer.read().decode()


def wait(port: int) -> None:
    """Wait until a program answers."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            scrape(port)
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers on port {port}")


if __name__ == "__main__":
    main()

"""The collectors of network devices, on devices of the running kernel in a network namespace of the tests' own."""

import json
import shutil
import subprocess
import sys

import pytest

COLLECT = """
import asyncio, importlib, inspect, json, subprocess, sys

def ip(command):
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)

def made(name, **options):
    module = importlib.import_module(f"agentd_plugins.collectors.host.{name}")
    (plugin,) = module.agentd_collectors()
    return plugin(plugin.config_type(**options))

async def told(collector):
    families = collector.collect()
    waited = inspect.isawaitable(families)
    families = await families if waited else families
    return waited, {
        family.name: [[list(labels), value] for labels, value in family.samples.items()] for family in families
    }

async def settled(collector, unlike=None):
    # A link's state is announced up to a second late.
    waited, families = await told(collector)
    for _ in range(300):
        if not waited and families != unlike:
            break
        await asyncio.sleep(0.1)
        waited, families = await told(collector)
    return families

async def main():
    print(json.dumps(await steps()))

ip("link set lo up")
ip("link add left type veth peer name right")
ip("link set left up")
ip("link set right up")
"""
"""What a test's own steps begin with: a pair of devices that are connected with each other."""


def run(steps):
    """Return what an async function with these steps returns, within a network namespace and a sysfs of its own.

    Skips where the machine does not allow that.
    """
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("needs unshare and ip")
    inside = ["sh", "-c", 'mount -t sysfs sysfs /sys && ip link add name try type veth && ip link del try && exec "$@"']
    unshare = ["unshare", "--net", "--mount"]
    possible = subprocess.run([*unshare, *inside, "sh", "true"], capture_output=True, check=False)
    if possible.returncode:
        pytest.skip(f"no network namespace with devices to be had: {possible.stderr.decode().strip()}")
    script = f"{COLLECT}\nimport sys\nsys.path[:] = {sys.path!r}\nasync def steps():\n{steps}\nasyncio.run(main())\n"
    done = subprocess.run([*unshare, *inside, "sh", sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def value(families, name, *labels):
    """Return the value of one sample, None where there is none."""
    return next((value for found, value in families.get(name, []) if found[: len(labels)] == list(labels)), None)


def test_netclass_follows_the_kernels_announcements():
    """While nothing changes the collector answers at once; each change and each new device is told at the next call."""
    first, *changes, (waited, last) = run("""
    netclass = made("netclass")
    answers = [await settled(netclass)]
    for command in ("link set left mtu 1234 alias home", "link set right down", "link add third type bridge",
                    "link set third name fourth", "link del fourth"):
        ip(command)
        answers += [await settled(netclass, unlike=answers[-1])]
    return [*answers, await told(netclass)]
    """)
    changed, down, third, fourth, deleted = changes
    assert value(first, "node_network_mtu_bytes", "left") == 1500.0
    assert value(changed, "node_network_mtu_bytes", "left") == 1234.0
    assert any(labels[0] == "left" and labels[-1] == "home" for labels, _ in changed["node_network_info"])
    assert value(changed, "node_network_up", "right") == 1.0
    assert value(down, "node_network_up", "right") == value(down, "node_network_up", "left") == 0.0
    assert value(down, "node_network_flags", "right") == value(changed, "node_network_flags", "right") - 1
    assert [value(answer, "node_network_up", "third") for answer in (down, third, fourth)] == [None, 0.0, None]
    assert [value(answer, "node_network_up", "fourth") for answer in (third, fourth, deleted)] == [None, 0.0, None]
    assert not waited
    assert last == deleted


def test_netclass_says_the_same_both_ways():
    """Over netlink and from files each number of each device is the same, but for what netlink tells otherwise."""
    (_, files), (_, netlink), (_, counts) = run("""
    subprocess.run(["ip", "link", "property", "add", "dev", "left", "altname", "another-name"], capture_output=True)
    for _ in range(300):
        answers = [await told(made("netclass", netlink=netlink)) for netlink in (False, True, False)]
        if answers[0] == answers[2]:  # nothing changed in between
            break
        await asyncio.sleep(0.1)
    return [*answers[:2], await told(made("netclass", netlink=True, rtnl_with_stats=True))]
    """)
    assert {labels[0] for labels, _ in files["node_network_up"]} == {"lo", "left", "right"}
    assert netlink.keys() - files.keys() <= {"node_network_altnames_info"}
    for name in files.keys() - {"node_network_info", "node_network_flags", "node_network_dormant"}:
        assert sorted(netlink[name]) == sorted(files[name]), name
    assert value(counts, "node_network_receive_packets_total", "left") is not None


def test_routes_qdiscs_and_drivers():
    """Routes with one and with several ways, the queue of a device and its driver are told as they were made."""
    (_, routes), (_, qdiscs), (_, drivers) = run("""
    for command in ("addr add 10.7.0.1/24 dev left", "route add default via 10.7.0.2",
                    "route add 10.8.0.0/16 proto bgp metric 5 nexthop via 10.7.0.2 weight 3 nexthop via 10.7.0.3"):
        ip(command)
    return [await told(made("network_route")), await told(made("qdisc")), await told(made("ethtool"))]
    """)
    made = [labels for labels, _ in routes["node_network_route_info"]]
    assert ["left", "", "default", "10.7.0.2", "0", "boot", ""] in made
    assert ["left", "10.7.0.1", "10.7.0.0/24", "", "0", "kernel", ""] in made
    assert ["left", "", "10.8.0.0/16", "10.7.0.2", "5", "bgp", "3"] in made
    assert ["left", "", "10.8.0.0/16", "10.7.0.3", "5", "bgp", "1"] in made
    assert value(routes, "node_network_routes", "left") >= 4.0
    assert {labels[0] for labels, _ in qdiscs["node_qdisc_bytes_total"]} == {"lo", "left", "right"}
    assert {(labels[1], labels[2]) for labels, _ in drivers["node_ethtool_info"]} == {
        ("left", "veth"),
        ("right", "veth"),
    }
    assert value(drivers, "node_ethtool_peer_ifindex", "left") is not None

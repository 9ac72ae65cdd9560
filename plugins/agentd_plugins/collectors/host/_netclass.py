"""Reads what kind of thing each network device is from its attribute files below /sys/class/net."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from agentd.plugin import Host

NUMBERS = (
    "addr_assign_type carrier carrier_changes carrier_up_count carrier_down_count dev_id dormant flags ifindex iflink "
    "link_mode mtu name_assign_type netdev_group speed tx_queue_len type"
).split()
"""Attribute files that hold a number (Documentation/ABI/testing/sysfs-class-net)."""

WORDS = ("address", "broadcast", "duplex", "operstate", "ifalias")
"""Attribute files that hold words."""

STAMP = ("operstate", "carrier_changes", "flags")
"""Attributes of which one changes whenever the state of a link does. Reading them waits for nothing."""


class Device(NamedTuple):
    """What is known about one network device, by the names of the attribute files in sysfs."""

    name: str
    numbers: Mapping[str, float]
    words: Mapping[str, str]
    altnames: tuple[str, ...] = ()
    statistics: tuple[float, ...] = ()
    """The kernel's ``struct rtnl_link_stats64``, where it was asked for."""


def devices(host: Host) -> list[str]:
    """Return the names below /sys/class/net that stand for devices. Raises ``OSError``."""
    with os.scandir(f"{host.paths.sysfs}/class/net") as entries:
        return [entry.name for entry in entries if not entry.is_file(follow_symlinks=False)]  # bonding_masters is one


def read(host: Host, device: str) -> Device:
    """Return what the attribute files of a device say; those that cannot be read now are left out.

    Reading may wait for the kernel's RTNL lock and for the device's driver.
    """
    numbers = {name: value for name in NUMBERS if (value := parse(text(host, device, name))) is not None}
    words = {name: text(host, device, name).decode(errors="replace").strip() for name in WORDS}
    return Device(device, numbers, words)


def stamp(host: Host, device: str) -> tuple[bytes, ...]:
    """Return what differs when the state of a device's link changed."""
    return tuple(text(host, device, name, lasting=True) for name in STAMP)


def text(host: Host, device: str, name: str, *, lasting: bool = False) -> bytes:
    """Return an attribute file, empty where it has nothing to say: many drivers lack some, or have them while up."""
    try:
        return host.sys(f"class/net/{device}/{name}", lasting=lasting)
    except OSError:
        return b""


def parse(content: bytes) -> float | None:
    """Return the decimal or hexadecimal number in an attribute file, None where there is none."""
    try:
        return float(int(content, 0))
    except (ValueError, OverflowError):
        return None

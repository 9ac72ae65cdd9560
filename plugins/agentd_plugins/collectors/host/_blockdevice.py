"""What udev and sysfs know about block devices, beside what they do."""

import os
from pathlib import Path
from typing import NamedTuple

from agentd.plugin import Host, Labels

Stamp = tuple[int, int] | None
"""Changes whenever udev learns something new about a device; None where it knows nothing of it."""


IDENTITY = ("device", "major", "minor", "path", "wwn", "model", "serial", "revision", "rotational")
"""The names of the labels in ``Device.identity``."""


class Device(NamedTuple):
    """A block device: its place among all devices, its name, and what udev and sysfs know about it."""

    major: str
    minor: str
    name: str
    rotational: bool | None
    """Whether something turns in it; None where the kernel does not say."""
    udev: dict[str, str]
    """Its properties in udev's database, ``ID_MODEL`` say."""

    def labels(self, *properties: str) -> Labels:
        """Return its name, and the values of some properties of udev's; an empty text for each that it lacks."""
        return (self.name, *(self.udev.get(name, "") for name in properties))

    @property
    def identity(self) -> Labels:
        """What tells it from every other device. ``serial`` is what is printed on it, or the best that udev has."""
        name, path, wwn, model, revision, printed, short, long = self.labels(
            *("ID_PATH", "ID_WWN", "ID_MODEL", "ID_REVISION", "SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")
        )
        serial = printed or short or long
        return name, self.major, self.minor, path, wwn, model, serial, revision, "1" if self.rotational else "0"

    def number(self, name: str) -> float | None:
        """Return a property of udev's that is a number; None where it is absent or something else."""
        try:
            return float(self.udev[name])
        except (KeyError, ValueError):
            return None


def stamp(host: Host, major: str, minor: str) -> Stamp:
    """Return the stamp of what udev has about a device."""
    try:
        status = os.stat(_file(host, major, minor))  # a Path would cost thrice as much, at each scrape
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read(host: Host, major: str, minor: str, name: str) -> Device:
    """Return what there is about a device now. What cannot be read is as good as absent."""
    try:
        udev = parse(Path(_file(host, major, minor)).read_bytes())
    except OSError:
        udev = {}
    try:
        rotational = {b"0": False, b"1": True}.get(host.sys(f"block/{name.replace('/', '!')}/queue/rotational"))
    except FileNotFoundError:  # partitions have none of their own
        rotational = False
    except OSError:
        rotational = None
    return Device(major, minor, name, rotational, udev)


def parse(text: bytes) -> dict[str, str]:
    """Return the properties in a file of udev's database: its lines ``E:NAME=VALUE``."""
    lines = text.decode("utf-8", "replace").split("\n")
    pairs = (line[2:].partition("=") for line in lines if line.startswith("E:"))
    return {name: value for name, equals, value in pairs if equals}


def _file(host: Host, major: str, minor: str) -> str:
    return f"{host.paths.udev_data}/b{major}:{minor}"

"""Decides which network devices to read again, so that their attribute files are hardly ever read for nothing."""

import socket
from collections.abc import Callable

from agentd.plugin import Clock, Host
from agentd_plugins.collectors.host import _netclass
from agentd_plugins.collectors.host._linkwatch import LinkWatch

KEPT_SECONDS = 60.0
"""How long a device is believed to be as it was read while nothing says that it changed."""

PART = 4
"""The part of all devices that is read again at once for its age alone."""


class Survey:
    """The network devices as they were read last.

    Whoever is told by the kernel that a device changed need not look. Where the kernel cannot be listened to, ``watch``
    is None, and a device is read again when the state of its link changed.
    """

    def __init__(self, host: Host, clock: Clock, ignores: Callable[[str], bool], watch: LinkWatch | None) -> None:
        self._host = host
        self._clock = clock
        self._ignores = ignores
        self._watch = watch
        self._watch_is_proven = False
        self._listed = False
        """Whether the devices that there are are still those in ``_devices``."""
        self._devices: dict[str, _netclass.Device] = {}
        self._read_at: dict[str, float] = {}
        """When each was read; those of which it is known that they changed since are missing."""
        self._stamps: dict[str, tuple[bytes, ...]] = {}

    def is_fresh(self) -> bool:
        """Return whether all devices are as they were read last. This waits for nothing. Raises ``OSError``."""
        self._listen()
        if not self._watch:
            self._look()
        return self._listed and not self._due()

    def devices(self) -> list[_netclass.Device]:
        """Return all devices, those that are due read again, which may wait for a driver. Raises ``OSError``."""
        if not self._listed:
            names = self._names()
            self._prove_watch()
            self._read_at = {name: read_at for name, read_at in self._read_at.items() if name in names}
            self._devices = {name: self._devices.get(name, _netclass.Device(name, {}, {})) for name in names}
            self._listed = True
        for name in self._due():
            self._devices[name] = _netclass.read(self._host, name)
            self._read_at[name] = self._clock.monotonic()
        return list(self._devices.values())

    def close(self) -> None:
        """Stop listening to the kernel."""
        if self._watch:
            self._watch.close()

    def _listen(self) -> None:
        if not self._watch:
            return
        try:
            changed = self._watch.changed()
        except OSError:  # netlink is forbidden here: nothing is lost by looking at each link instead
            self._watch = None
            return
        if changed == set():
            return
        self._listed = False
        for name, device in self._devices.items():
            if changed is None or device.numbers.get("ifindex") in changed:
                self._read_at.pop(name, None)

    def _look(self) -> None:
        stamps = {name: _netclass.stamp(self._host, name) for name in self._names()}
        if stamps == self._stamps:
            return
        self._host.forget("class/net")  # where two devices exchanged their names, its files are still the former ones
        self._listed = self._listed and stamps.keys() == self._stamps.keys()
        for name in [name for name in self._read_at if self._stamps.get(name) != stamps.get(name)]:
            del self._read_at[name]
        self._stamps = stamps

    def _due(self) -> list[str]:
        before = self._clock.monotonic() - KEPT_SECONDS
        changed = [name for name in self._devices if name not in self._read_at]
        old = sorted((read_at, name) for name, read_at in self._read_at.items() if read_at < before)
        return changed + [name for _, name in old[: len(self._devices) // PART + 1]]

    def _names(self) -> list[str]:
        return [name for name in _netclass.devices(self._host) if not self._ignores(name)]

    def _prove_watch(self) -> None:
        # A sysfs that was mounted in another network namespace shows devices of which no announcement comes.
        if self._watch and not self._watch_is_proven:
            if {name for _, name in socket.if_nameindex()} != set(_netclass.devices(self._host)):
                self._watch.close()
                self._watch = None
            self._watch_is_proven = True

"""Names of the machine and its kernel, from uname(2) and /proc/sys/kernel/domainname."""

import os

from agentd.plugin import Collector, Config, Frame, Layout, gauge, hookimpl


class Uname(Collector[Config]):
    """What the kernel calls itself and the machine.

    All of it, domainname too, is what the UTS namespace of the agent itself says, as with node_exporter: in a container
    with a namespace of its own, ``nodename`` is the container's name, wherever procfs is mounted.
    """

    name = "uname"
    blocking = False

    info = gauge(
        "node_uname_info",
        "Names of the kernel and the machine by uname(2); always 1.",
        ("sysname", "release", "version", "machine", "nodename", "domainname"),
    )

    _names: tuple[str, ...] = ()
    _layout = Layout()

    def collect(self) -> Frame:
        """Return one sample with the names as labels."""
        names = (*os.uname(), self._domain())
        if names != self._names:
            sysname, nodename, release, version, machine, domainname = map(printable, names)
            self._layout = Layout([self.info({(sysname, release, version, machine, nodename, domainname): 1.0})])
            self._names = names
        return self._layout.fill([1.0])

    def _domain(self) -> str:
        # Python's os.uname() leaves the field out.
        try:
            return parse(self.host.proc("sys/kernel/domainname"))
        except OSError:
            return "(none)"  # what the kernel says where nobody has set the name


def parse(text: bytes) -> str:
    """Return the NIS domain name of the machine from a domainname file."""
    return text.removesuffix(b"\n").decode(errors="surrogateescape")


def printable(name: str) -> str:
    """Return a name in which bytes that are no UTF-8, which Linux allows in it, are replaced."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


@hookimpl
def agentd_collectors() -> list[type[Uname]]:
    """Register the collector."""
    return [Uname]

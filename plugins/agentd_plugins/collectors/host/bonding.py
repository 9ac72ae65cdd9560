"""How many devices each bond of network devices has and how many of them have a link, from /sys/class/net."""

from agentd.plugin import Collector, Config, Family, Host, NoData, gauge, hookimpl


class Bonding(Collector[Config]):
    """Bonds, which make one network device of several."""

    name = "bonding"
    blocking = False  # the bonding driver answers from its own memory

    slaves = gauge("node_bonding_slaves", "Number of network devices that were given to the bond.", ("master",))
    active = gauge("node_bonding_active", "Number of those devices that have a link.", ("master",))

    def collect(self) -> list[Family]:
        """Return two counts for each bond."""
        try:
            masters = self.host.sys("class/net/bonding_masters").decode(errors="replace").split()
        except FileNotFoundError:
            raise NoData("no bonds: the kernel's module for them is not loaded") from None
        bonds = {master: states for master in masters if (states := read(self.host, master)) is not None}
        return [
            self.slaves({master: float(len(states)) for master, states in bonds.items()}),
            self.active({master: float(states.count(b"up")) for master, states in bonds.items()}),
        ]


def read(host: Host, master: str) -> list[bytes] | None:
    """Return the state of the link of each device in a bond, None where the bond went away.

    A device that is taken out of it just now is left out.
    """
    try:
        slaves = host.sys(f"class/net/{master}/bonding/slaves").decode(errors="replace").split()
    except (OSError, ValueError):  # the latter of what can be no name
        return None
    states = (state(host, master, slave) for slave in slaves)
    return [found for found in states if found is not None]


def state(host: Host, master: str, slave: str) -> bytes | None:
    """Return ``up``, ``going down``, ``down`` or ``going back``; None where the device is not in the bond any more."""
    for prefix in ("lower", "slave"):  # the latter before Linux 3.18
        try:
            return host.sys(f"class/net/{master}/{prefix}_{slave}/bonding_slave/mii_status").strip()
        except (OSError, ValueError):  # the latter of what can be no name
            continue
    return None


@hookimpl
def agentd_collectors() -> list[type[Bonding]]:
    """Register the collector."""
    return [Bonding]

"""How fragmented memory is: free blocks of each size, from /proc/buddyinfo."""

from agentd.plugin import Collector, Config, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Buddyinfo(Collector[Config]):
    """Free blocks of memory in each zone, by the order of their size."""

    name = "buddyinfo"
    blocking = False

    blocks = gauge(
        "node_buddyinfo_blocks",
        "Number of free blocks of 2 to the power of size pages each.",
        ("node", "zone", "size"),
    )

    def collect(self) -> list[Family]:
        """Return the free blocks of all zones."""
        return [self.blocks(parsed(self.host, "buddyinfo", parse))]


def parse(text: bytes) -> dict[Labels, float]:
    """Return the numbers of free blocks in a buddyinfo file (proc_buddyinfo(5)), by node, zone and order of size."""
    blocks: dict[Labels, float] = {}
    for line in text.decode(errors="backslashreplace").splitlines():
        words = line.split()
        if len(words) < 4:
            raise ValueError(f"expected 'Node 0, zone Normal' and numbers in buddyinfo, found {line[:80]!r}")
        node, zone = words[1].removesuffix(","), words[3]
        for order, number in enumerate(words[4:]):
            blocks[node, zone, str(order)] = float(number)
    return blocks


@hookimpl
def agentd_collectors() -> list[type[Buddyinfo]]:
    """Register the collector."""
    return [Buddyinfo]

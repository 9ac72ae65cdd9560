"""What the kernel's random number generator has gathered, from /proc/sys/kernel/random."""

from agentd.plugin import Collector, Config, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._parsed import parsed


class Entropy(Collector[Config]):
    """Entropy of the kernel's pool; since Linux 5.18 it is full for ever once it has been filled (random(4))."""

    name = "entropy"
    blocking = False

    available = gauge("node_entropy_available_bits", "Entropy that the kernel's pool holds, in bits.")
    pool_size = gauge("node_entropy_pool_size_bits", "Entropy that the kernel's pool can hold, in bits.")

    def collect(self) -> list[Family]:
        """Return how full the pool is, and how big."""
        try:
            available = parsed(self.host, "sys/kernel/random/entropy_avail", float)
            pool_size = parsed(self.host, "sys/kernel/random/poolsize", float)
        except FileNotFoundError:
            raise NoData("the kernel does not tell of its random number generator") from None
        return [self.available(available), self.pool_size(pool_size)]


@hookimpl
def agentd_collectors() -> list[type[Entropy]]:
    """Register the collector."""
    return [Entropy]

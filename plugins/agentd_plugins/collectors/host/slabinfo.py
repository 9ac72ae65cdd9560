"""The kernel's caches of its own data structures, from /proc/slabinfo, which only root may read."""

from collections.abc import Callable

from agentd.plugin import Collector, Config, Context, Family, NoData, Refused, Regex, gauge, hookimpl
from agentd_plugins.collectors.host._filters import Filter
from agentd_plugins.collectors.host._parsed import parsed

SLAB = ("slab",)


class SlabinfoConfig(Config):
    """Options of the collector slabinfo."""

    slabs_include: Regex = Regex(".*")
    """Caches to tell of, all others left out."""
    slabs_exclude: Regex | None = None
    """Caches to leave out, even where ``slabs_include`` matches them."""


class Slabinfo(Collector[SlabinfoConfig]):
    """How many objects each cache holds, and how it lays them out."""

    name = "slabinfo"
    # The kernel counts the objects of all caches under the lock that also the making of caches waits for: with big
    # caches that takes milliseconds.
    blocking = True

    columns = (
        gauge("node_slabinfo_active_objects", "Number of objects of the cache that are in use.", SLAB),
        gauge("node_slabinfo_objects", "Number of objects that the cache has room for, used or not.", SLAB),
        gauge("node_slabinfo_object_size_bytes", "Size of one object of the cache, in bytes.", SLAB),
        gauge("node_slabinfo_objects_per_slab", "Number of objects in one slab of the cache.", SLAB),
        gauge("node_slabinfo_pages_per_slab", "Number of pages that one slab of the cache takes.", SLAB),
    )

    def __init__(self, config: SlabinfoConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._filters = (Filter(self.config.slabs_exclude), Filter(None, self.config.slabs_include))

    def collect(self) -> list[Family]:
        """Return the five numbers of each cache that the options ask for."""
        caches = self._caches()
        return [
            metric({name: numbers[place] for name, numbers in caches.items()})
            for place, metric in enumerate(self.columns)
        ]

    def _caches(self) -> dict[str, list[float]]:
        try:
            return parsed(self.host, "slabinfo", lambda text: parse(text, self._ignores))
        except FileNotFoundError:
            raise NoData("the kernel does not list its slab caches") from None
        except PermissionError:
            raise Refused("reading slabinfo takes the drop-in read-all.conf, or root") from None

    def _ignores(self, name: str) -> bool:
        return any(names.ignores(name) for names in self._filters)


def parse(text: bytes, ignores: Callable[[str], bool]) -> dict[str, list[float]]:
    """Return the first five numbers of each cache in a slabinfo file (slabinfo(5)) that is not ignored."""
    caches = {}
    for line in text.split(b"\n"):
        if not line or line.startswith((b"slabinfo -", b"# name")):
            continue
        words = line.partition(b" : ")[0].rsplit(None, 5)  # a cache's name may have blanks in it
        if len(words) < 6:
            raise ValueError(f"expected a cache and five numbers in slabinfo, found {line[:80]!r}")
        name = words[0].decode(errors="backslashreplace")
        if not ignores(name):
            caches[name] = list(map(float, words[1:]))
    return caches


@hookimpl
def agentd_collectors() -> list[type[Slabinfo]]:
    """Register the collector."""
    return [Slabinfo]

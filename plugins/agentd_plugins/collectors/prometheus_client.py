"""Collectors and registries that were written for the library prometheus_client, as they stand."""

import importlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any

from msgspec import Meta

from agentd.plugin import Collector, Config, Context, hookimpl


class PrometheusClientConfig(Config, frozen=True):
    """Options of the collector prometheus_client."""

    object: Annotated[str, Meta(pattern=r"^[\w.]+:[\w.]+$", examples=["my_package.metrics:REGISTRY"])]
    """What is asked, as ``package.module:NAME``: a CollectorRegistry, a collector with ``collect()``, or something to
    call that returns either, the class of a collector say."""


class PrometheusClient(Collector[PrometheusClientConfig]):
    """What a collector or a registry of prometheus_client says."""

    name = "prometheus_client"
    foreign = True

    def __init__(self, config: PrometheusClientConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._source: Any = None
        self._left_out: frozenset[str] = frozenset()

    async def start(self) -> None:
        """Import what is named. That takes as long as it takes, and may do anything, so it is done in a worker."""
        self._source = await self.in_worker(found, self.config.object)
        self._left_out = await self.in_worker(defaults_of, self._source)

    def collect(self) -> Iterator[Any]:
        """Return what it says, but for what the library says of the agent's own process: the agent does so itself."""
        return (metric for metric in self._source.collect() if metric.name not in self._left_out)

    async def probe(self) -> str:
        """Import what is named, and say what it is."""
        return f"{self.config.object} is {described(await self.in_worker(found, self.config.object))}"


def found(name: str) -> Any:
    """Return what has ``collect()`` under a name. Raises ``LookupError`` or ``TypeError`` where nothing has."""
    module_name, _, path = name.partition(":")
    try:
        thing: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            advice = "it has to be installed where agentd is"
            raise LookupError(f"there is no module {error.name}: {advice}") from None
        raise  # one that it needs itself
    for part in path.split("."):
        if not hasattr(thing, part):
            close = get_close_matches(part, dir(thing), 1)
            hint = f'. Did you mean "{close[0]}"?' if close else ""
            raise LookupError(f"{module_name} has no {part}{hint}")
        thing = getattr(thing, part)
    if callable(thing) and (isinstance(thing, type) or not hasattr(thing, "collect")):
        thing = thing()
    if not callable(getattr(thing, "collect", None)):
        raise TypeError(
            f"{name} is {described(thing)}: expected a CollectorRegistry, a collector with collect(), or something to "
            "call that returns either"
        )
    return thing


def defaults_of(source: Any) -> frozenset[str]:
    """Return the names of what the library tells by itself where a source is its default registry: its process, its
    platform, its garbage collector.
    """
    import prometheus_client as library

    if source is not library.REGISTRY:
        return frozenset()
    own = (library.PROCESS_COLLECTOR, library.PLATFORM_COLLECTOR, library.GC_COLLECTOR)
    return frozenset(metric.name for each in own for metric in each.collect())


def described(thing: Any) -> str:
    """Return what something is, for an error."""
    return f"of class {type(thing).__module__}.{type(thing).__qualname__}".replace("builtins.", "")


@hookimpl
def agentd_collectors() -> list[type[PrometheusClient]]:
    """Register the collector."""
    return [PrometheusClient]

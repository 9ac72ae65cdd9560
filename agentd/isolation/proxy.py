"""What stands for a plugin in the agent whose code runs in a process of its own. To all else it is any plugin."""

from collections.abc import Sequence
from typing import Any

from agentd.config import CollectorKeys, SinkKeys
from agentd.isolation.describe import plain
from agentd.isolation.keeper import Keeper, Order
from agentd.isolation.launcher import Launcher
from agentd.isolation.process import Process
from agentd.isolation.source import Source
from agentd.memory import Pressure
from agentd.metrics.family import Family, Histogram, Summary, Value
from agentd.metrics.frame import EMPTY, Layout
from agentd.options import Config
from agentd.plugin import Collector, Context, Plugin, Record, Sink
from agentd.plugin.declared import declared_metrics

MEMORY = 256 << 20
"""Bytes of data that a process may have where nothing else is configured. Without a limit, one that leaks would take
the whole service to that of its unit.
"""


class Isolated(Plugin[Any]):
    """What stands for plugins of all kinds."""

    keeper: Keeper
    """Keeps the process in which the plugin runs."""

    async def start(self) -> None:
        """Begin the process, and start the plugin in it."""
        await self.keeper.start()

    async def leave(self) -> None:
        """Let the plugin say good-bye."""
        if self.keeper.process is not None:
            await self.keeper.ask("leave")

    async def stop(self) -> None:
        """Stop the plugin, and end the process."""
        await self.keeper.stop()

    async def probe(self) -> str:
        """Let the plugin try, in a process of its own."""
        return await self.keeper.probe()

    def shed(self, pressure: Pressure) -> None:
        """Let the plugin give up what it can do without; nobody waits for that."""
        if self.keeper.process is not None:
            self.keeper.process.send({"id": 0, "do": "shed", "pressure": int(pressure)})


class IsolatedCollector(Isolated, Collector[Any]):
    """Stands for a collector."""

    _layout = EMPTY.layout
    _of: Process | None = None

    async def collect(self) -> Any:
        """Return what the process says. Where nobody waits any longer, it is ended."""
        process = self.keeper.process
        told = await self.keeper.ask("collect", deadline=self.context.deadline)
        if "heads" in told or process is not self._of:
            self._of, self._layout = process, _layout(told.get("heads", ()))
        frame = self._layout.fill([each if type(each) is float else _value(each) for each in told["values"]])
        return [*frame, *map(_other, told["others"])] if "others" in told else frame


class IsolatedSink(Isolated, Sink[Any]):
    """Stands for a sink."""

    async def send(self, events: Sequence[Record]) -> None:
        """Deliver events. Where nobody waits any longer, the process is ended."""
        told = [(record.seq, record.type, record.source, record.json.decode()) for record in events]
        await self.keeper.ask("send", events=told)

    async def reopen(self) -> None:
        """Let the sink open its files anew."""
        await self.keeper.ask("reopen")


def isolated(
    cls: type[Plugin[Any]],
    source: Source,
    launcher: Launcher,
    *,
    config: Config | None,
    context: Context,
    keys: CollectorKeys | SinkKeys,
) -> Isolated:
    """Return what stands for an instance of a plugin: of its class, or one that a child has described."""
    base = IsolatedCollector if issubclass(cls, Collector) else IsolatedSink
    names = ("name", "config_type", "extra", "exclusive", "interval", "max_series", "foreign", "__doc__")
    told = {name: getattr(cls, name) for name in names if hasattr(cls, name)}
    stands_for = type(cls.__name__, (base,), told | {"metrics": tuple(declared_metrics(cls))})
    plugin: Isolated = stands_for(config, context)
    memory = MEMORY if keys.memory_limit is None else keys.memory_limit
    most: Any = keys.max_series if isinstance(keys, CollectorKeys) else None
    order = Order(source, memory or None, keys.cpu_limit, plain(plugin.config), most or getattr(cls, "max_series", 0))
    plugin.keeper = Keeper(launcher, order, context, plugin.log)
    return plugin


def _layout(heads: Any) -> Layout:
    return Layout(
        Family(name, kind, text, tuple(labels), {_key(key): 0.0 for key in keys})
        for name, kind, text, labels, keys in heads
    )


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _value(value: Any) -> Value:
    """Return a value of a sample; whatever is none is refused by whoever checks what plugins say."""
    if isinstance(value, dict):
        for many, make in (("buckets", Histogram), ("quantiles", Summary)):
            if many in value:
                return make(tuple((at, number) for at, number in value[many]), value["count"], value["sum"])
    found: Value = value
    return found


def _other(told: Any) -> Any:
    """Return a metric of prometheus_client that a child has told, or what is none."""
    if not isinstance(told, dict):
        return told
    from prometheus_client.metrics_core import Metric

    metric = Metric(told["name"], told["help"], told["type"])
    for name, labels, value in told["samples"]:
        metric.add_sample(name, labels, value)
    return metric

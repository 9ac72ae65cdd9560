"""What can be seen of a plugin without running it: its name, its documentation, its options and its declarations."""

import inspect
import re
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, get_args

import msgspec

from agentd.config import KEYS
from agentd.config.describe import options
from agentd.options import decode
from agentd.plugin import Collector, Config, Exporter, Plugin, Sink
from agentd.testing.contract.metrics import declarations, lint
from agentd.testing.instance import kind_of

_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Add = Callable[[str, str, str], None]


def check_declaration(plugin: type[Plugin[Any]], add: Add) -> None:
    """Hold a class against all rules that need no instance."""
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not _SNAKE.fullmatch(name):
        add("name", "", "it has no name" if name is None else f"{name!r} is not in snake case")
    if not (plugin.__dict__.get("__doc__") or "").strip():
        add("doc", plugin.__name__, "the class has no docstring of its own")
    _check_methods(plugin, add)
    if issubclass(plugin, Collector):
        _check_collector(plugin, add)
    if issubclass(plugin, Exporter) and not (isinstance(plugin.interval, int | float) and 0 < plugin.interval < inf):
        add("attribute", "interval", f"interval is {plugin.interval!r}: expected seconds")
    _check_options(plugin, add)
    for metric in declarations(plugin):
        for rule, what in lint(metric.name, metric.kind, metric.help, metric.labels):
            add(rule, metric.name, what)


def _check_methods(plugin: type[Plugin[Any]], add: Add) -> None:
    for method in ("start", "leave", "stop", "probe", *(("reopen",) if issubclass(plugin, Sink) else ())):
        function = getattr(plugin, method)
        if not inspect.iscoroutinefunction(function):
            add("async", method, f"{method}() is no coroutine function")
    if issubclass(plugin, Collector) and inspect.isasyncgenfunction(plugin.collect):
        add("async", "collect", "collect() is an asynchronous generator: it has to return its families")


def _check_collector(plugin: type[Collector[Any]], add: Add) -> None:
    blocking: Any = plugin.blocking
    if not isinstance(blocking, bool | property):
        add("attribute", "blocking", f"blocking is {blocking!r}: expected True or False")
    interval: Any = plugin.interval
    if interval is not None and not (isinstance(interval, int | float) and 0 < interval < inf):
        add("attribute", "interval", f"interval is {interval!r}: expected seconds, or None for each scrape")
    most: Any = plugin.max_series
    if not isinstance(most, property) and not (type(most) is int and most > 0):
        add("attribute", "max_series", f"max_series is {most!r}: expected a number")


def _check_options(plugin: type[Plugin[Any]], add: Add) -> None:
    config = plugin.config_type
    for name in KEYS[kind_of(plugin)].__struct_fields__:
        if name in {field.encode_name for field in msgspec.structs.fields(config)}:
            add("option-reserved", name, "its name is taken")
    if config is not Config:
        _check_table(config, "", frozenset(), add)


def _check_table(table: type[msgspec.Struct], within: str, around: frozenset[type], add: Add) -> None:
    """Hold options against the rules, and those of tables that stand in them."""
    if not (table.__dict__.get("__doc__") or "").strip():
        add("doc", table.__name__, "the class of its options has no docstring")
    described = {option.name: option.doc for option in options(table)}
    sourced = _has_source(table)
    for field in msgspec.structs.fields(table):
        name = f"{within}{field.encode_name}"
        if not _SNAKE.fullmatch(field.encode_name):
            add("option-name", name, "its name is not in snake case")
        if sourced and not described.get(field.encode_name):
            add("option-doc", name, "it has no docstring")
        if not field.required and (why := _refused(field)):
            add("option-default", name, why)
        for inner in _tables(field.type):
            if inner not in around:
                _check_table(inner, f"{name}.", around | {table}, add)


def _tables(type_: Any) -> Iterator[type[msgspec.Struct]]:
    """Yield the tables that may stand in a value of this type."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        yield type_
    for inner in get_args(type_):
        yield from _tables(inner)


def _has_source(config: type[msgspec.Struct]) -> bool:
    """Say whether docstrings below fields can be seen: they are in the source alone."""
    try:
        return bool(inspect.getsource(config))
    except (OSError, TypeError):
        return False


def _refused(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    try:
        if value is msgspec.NODEFAULT:
            value = field.default_factory()
        msgspec.convert(value, field.type, dec_hook=decode)
    except Exception as error:  # noqa: BLE001  # a default factory may raise anything
        return f"its default {value!r} is refused: {error}"
    return ""

"""What the agent knows of a plugin that it does not import: a child imports it, and tells what there is to know.

From that a class is made with the same options, so that a configuration is checked, and a plugin described, as any
other is.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from typing import Annotated, Any, Literal

import msgspec

from agentd.isolation.launcher import Launch, Launched, Launcher, LaunchError
from agentd.isolation.source import DescribeError, Source
from agentd.isolation.wire import frame
from agentd.metrics.family import Metric
from agentd.options import PARSED, Config, Regex, Secret
from agentd.plugin import Collector, Plugin, Sink

WITHIN = 20.0
"""Seconds that importing a plugin may take, and telling of it."""

BASES: Mapping[str, type[Plugin[Any]]] = {"collectors": Collector, "sinks": Sink}

_PLAIN: Mapping[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "none": None, "any": Any}
_PARSED: Mapping[str, Any] = {type_.__name__: type_ for type_ in PARSED}
_MANY: Mapping[str, Any] = {"list": list, "set": set, "frozenset": frozenset}


def described_class(launcher: Launcher, source: Source) -> type[Plugin[Any]]:
    """Return a class that has what a plugin's class has to be configured and described. Raises ``DescribeError``."""
    with _child(launcher, source) as ask:
        told = ask({"do": "describe"})
    name = source.plugin.title().replace("_", "")
    config = _config(f"{name}Options", told["fields"], _Asking(launcher, source) if told["checks"] else None)
    metrics = tuple(Metric(one, kind, text, tuple(labels), unit) for one, kind, text, labels, unit in told["metrics"])
    given = {key: told[key] for key in ("interval", "max_series", "foreign", "extra") if key in told}
    fields = {"name": source.plugin, "config_type": config, "metrics": metrics, "__doc__": told["doc"], **given}
    if told["probes"]:
        fields["probe"] = _probe_in_a_process
    return type(name, (BASES[source.kind],), fields)


def plain(value: Any) -> Any:
    """Return options as a child is told of them: as JSON. A child makes its own types of them again."""
    if isinstance(value, msgspec.Struct):
        return {field.name: plain(getattr(value, field.name)) for field in msgspec.structs.fields(type(value))}
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Regex):
        return value.pattern
    if value is None or isinstance(value, bool):
        return value
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    raise TypeError(f"an option of type {type(value).__name__} cannot be told to another process")


async def _probe_in_a_process(_plugin: Plugin[Any]) -> str:
    raise NotImplementedError  # the one that stands for it asks its process


class _Asking:
    """What only the plugin's own options can tell: a child makes them, and is asked."""

    def __init__(self, launcher: Launcher, source: Source) -> None:
        self._launcher = launcher
        self._source = source
        self._names: dict[str, dict[tuple[str, ...], str]] = {}

    def check(self, config: Config) -> None:
        """Raise ``ValueError`` where options contradict each other."""
        options = plain(config)
        try:
            with _child(self._launcher, self._source) as ask:
                told = ask({"do": "check", "options": options})
        except DescribeError as error:
            raise ValueError(str(error)) from error
        if told["why"] is not None:
            raise ValueError(told["why"])
        self._names[json.dumps(options)] = {tuple(keys): name for keys, name in told["metric_names"]}

    def metric_names(self, config: Config) -> Mapping[tuple[str, ...], str]:
        """Return the names of metrics that options give, which were told when they were checked."""
        return self._names.get(json.dumps(plain(config)), {})


@contextlib.contextmanager
def _child(launcher: Launcher, source: Source) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Yield what asks a child that has imported a plugin."""
    try:
        child = launcher.launch(Launch(source.python))
    except LaunchError as error:
        raise DescribeError(str(error)) from error
    try:
        child.connection.settimeout(WITHIN)
        ask = partial(_ask, child)
        ask(source.load(logging.getLogger().level))
        yield ask
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.close()


def _ask(child: Launched, message: dict[str, Any]) -> Any:
    try:
        child.connection.sendall(frame({"id": 0, **message}))
        while True:
            answer = json.loads(_received(child, struct.unpack("!I", _received(child, 4))[0]))
            if "log" in answer:
                level, text = answer["log"]
                logging.getLogger(__name__).log(level, "%s", text)
            if "id" in answer:
                break
    except TimeoutError:
        raise DescribeError(f"its process did not answer within {WITHIN:g} s") from None
    except (OSError, EOFError):
        raise DescribeError(_how_it_ended(child)) from None
    if "error" in answer:
        raise DescribeError(answer["error"]["text"])
    return answer["ok"]


def _received(child: Launched, size: int) -> bytes:
    data = child.connection.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    return data


def _how_it_ended(child: Launched) -> str:
    """Return what is known of a child that has ended: its status, and the last that it has said."""
    status = "nobody knows how"
    if select.select([child.end], [], [], 2.0)[0] and (told := os.read(child.end, 4096)):
        number = json.loads(told)["status"]
        status = f"exit status {number}" if number >= 0 else f"by {signal.Signals(-number).name}"
    os.set_blocking(child.errors, False)
    said = b""
    with contextlib.suppress(BlockingIOError):
        said = os.read(child.errors, 4096)
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    last = next((line for line in lines if line.startswith("Fatal")), lines[-1] if lines else "")
    return f"its process has ended, {status}" + (f": {last}" if last else "")


def _config(name: str, fields: list[dict[str, Any]], asking: _Asking | None = None) -> type[Config]:
    """Return a class of options with these fields."""
    annotations: dict[str, Any] = {}
    docs = {field["name"]: field["doc"] for field in fields if field["doc"]}
    namespace: dict[str, Any] = {"__annotations__": annotations, "__module__": __name__, "__field_docs__": docs}
    for field in fields:
        annotations[field["name"]] = type_ = _type(field["type"])
        if "default" in field:
            namespace[field["name"]] = msgspec.field(default_factory=partial(_value, type_, field["default"]))
    if asking is not None:
        namespace["__post_init__"] = lambda self: asking.check(self)  # noqa: PLW0108  # a bound method is not given the object
        namespace["metric_names"] = lambda self: asking.metric_names(self)  # noqa: PLW0108  # as above
    make: Any = type(Config)  # which takes more keywords than its base says
    made: type[Config] = make(name, (Config,), namespace, frozen=True)
    return made


def _value(type_: Any, default: Any) -> Any:
    if type_ in PARSED:
        return type_(default)
    return msgspec.convert(default, type_, dec_hook=lambda to, value: to(value))


def _type(told: Any) -> Any:
    """Return the type that a child has told as JSON."""
    if isinstance(told, str):
        return _PARSED[told] if told in _PARSED else _PLAIN[told]
    if "struct" in told:
        return _config(told["struct"], told["fields"])
    if "bounds" in told:
        return Annotated[_type(told["type"]), msgspec.Meta(**told["bounds"])]
    if "union" in told:
        return reduce(lambda one, other: one | other, map(_type, told["union"]))
    if "literal" in told:
        return Literal[tuple(told["literal"])]
    if "dict" in told:
        return dict[str, _type(told["dict"])]  # type: ignore[misc]  # which type is known only now
    if "tuple" in told:
        return tuple[_type(told["tuple"]), ...]  # type: ignore[misc]  # which type is known only now
    ((name, element),) = told.items()
    return _MANY[name][_type(element)]

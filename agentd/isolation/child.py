"""The child's side of ``isolation = "process"``: runs one plugin, and speaks with the agent over a socket.

This file is all that a child needs: it uses the standard library alone and runs on Python 3.8 and newer, so that an
interpreter can run it that knows nothing of agentd. There the plugin gets a stand-in for ``agentd.plugin``. What is
said over the socket is described in docs/isolation.md.
"""

from __future__ import annotations

import ast
import asyncio
import faulthandler
import importlib
import importlib.util
import inspect
import json
import logging
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Generic, TypeVar, Union

LARGEST = 16 << 20
"""Bytes of a message at most, on both sides."""

OUT_OF_MEMORY = 71
"""The exit status of a child that may have no more memory: whoever was refused some cannot go on safely."""

KINDS = {"collectors": "Collector", "exporters": "Exporter", "sinks": "Sink"}


class Link:
    """The socket to the agent. A message is a JSON object behind its length in four bytes, the highest first."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._received = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message, from any thread. Waits while the agent takes no more; ends with the agent."""
        data = json.dumps(message, default=repr, separators=(",", ":")).encode()
        if len(data) > LARGEST:
            raise ValueError(f"{len(data)} bytes are more than the agent takes at once, which is {LARGEST}")
        try:
            with self._lock:
                self.connection.sendall(struct.pack("!I", len(data)) + data)
        except OSError:
            os._exit(0)

    def receive(self) -> Iterator[dict[str, Any]]:
        """Yield what has come. Ends with the agent."""
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        self._received += data
        while len(self._received) >= 4:
            end = 4 + struct.unpack_from("!I", self._received)[0]
            if len(self._received) < end:
                return
            body = bytes(self._received[4:end])
            del self._received[:end]
            yield json.loads(body)


class LinkHandler(logging.Handler):
    """Sends what a plugin logs to the agent, which writes it into its own log."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, with its traceback where it has one."""
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception as error:  # noqa: BLE001  # arguments that do not fit, or an error without a text
            text = f"{record.msg!r} cannot be written: {type(error).__name__}"
        self._link.send({"log": [record.levelno, text[:4000]]})


class Child:
    """One plugin, from its loading to its end. Each ``do_…`` answers a message of that name."""

    def __init__(self, link: Link, api: Any) -> None:
        self._link = link
        self._api = api
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._commits: dict[int, asyncio.Future[None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._class: Any = None
        self._plugin: Any = None
        self._state: dict[str, Any] = {}
        self._most = 0
        self._heads: list[Any] = []

    def run(self) -> None:
        """Answer until the agent says that it is enough, or is gone."""
        root = logging.getLogger()
        root.handlers[:] = [LinkHandler(self._link)]
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._link.connection.fileno(), self._read)
        self._loop.run_forever()

    def rehearse(self, cls: Any, agent: Link) -> None:
        """Answer as if an agent asked, within the template from which all children are forked."""
        self._class = cls
        nothing: dict[str, Any] = {"host": {}, "labels": {}, "state": {}, "options": {}}
        begin = {"do": "begin", "name": "rehearsal", "max_series": 10, **nothing}
        asked = [begin, *20 * [{"do": "collect", "deadline": None}]]
        self._loop.add_reader(self._link.connection.fileno(), self._read)
        for number, message in enumerate(asked):
            agent.send({"id": number, **message})
        self._loop.call_later(0.1, self._loop.stop)
        self._loop.run_forever()
        list(agent.receive())
        self._loop.close()

    def _read(self) -> None:
        for message in self._link.receive():
            if "committed" in message:
                self._committed(message)
            else:
                task = self._loop.create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"id": message["id"]}
        try:
            reply["ok"] = await getattr(self, "do_" + message["do"])(message)
            self._same_process()
            self._link.send(reply)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except BaseException as error:  # noqa: BLE001  # whatever a plugin raises is its own failure
            self._same_process()
            self._link.send({"id": message["id"], "error": self._told_error(error)})
        if message["do"] == "stop":
            os._exit(0)

    def _same_process(self) -> None:
        """End a copy that the plugin made of its process by a fork: two would answer on one socket."""
        if os.getpid() != self._pid:
            os._exit(0)

    async def do_load(self, message: dict[str, Any]) -> None:
        """Import the plugin's file or module, and find its class."""
        logging.getLogger().setLevel(message["level"])
        self._class = load(self._api, message["kind"], message["plugin"], message["module"], message["file"])

    async def do_describe(self, _message: dict[str, Any]) -> dict[str, Any]:
        """Tell what the agent has to know of the class: its options, and how it wants to be used."""
        return describe(self._api, self._class)

    async def do_check(self, message: dict[str, Any]) -> dict[str, Any]:
        """Make the options of plain values, and tell how they contradict each other, or the metrics that they name."""
        try:
            config = made(self._api, self._class.config_type, message["options"])
        except ValueError as error:
            return {"why": text_of(error), "metric_names": []}
        return {"why": None, "metric_names": [[list(keys), name] for keys, name in config.metric_names().items()]}

    async def do_begin(self, message: dict[str, Any]) -> dict[str, Any]:
        """Build the plugin, and start it."""
        api, self._state = self._api, message["state"]
        self._most = message["max_series"]
        context = api.Context(
            name=message["name"],
            host=api.Host(api.HostPaths(**message["host"])),
            labels=message["labels"],
            emit=self._emit,
            commit=self._commit,
            state=self._state,
        )
        self._plugin = self._class(made(api, self._class.config_type, message["options"]), context)
        await self._plugin.start()
        # A thread costs the fifth part of a millisecond. Only what has begun something may have to go on meanwhile.
        blocking = getattr(self._plugin, "blocking", False) and not asyncio.iscoroutinefunction(self._plugin.collect)
        if blocking and self._class.start is not api.Plugin.start:
            self._pool = ThreadPoolExecutor(1)
        return {"routes": self._class.routes is not api.Plugin.routes}

    async def do_collect(self, message: dict[str, Any]) -> dict[str, Any]:
        """Collect. The families are told once, and then only their values, as long as nothing else changes."""
        plugin = self._plugin
        plugin.context.deadline = message["deadline"]
        if self._pool is not None:
            returned, told, error = await self._loop.run_in_executor(self._pool, self._collect)
        else:
            returned, told, error = self._collect()
        if error is not None:
            raise error
        return self._told(await returned) if told is None else told

    async def do_send(self, message: dict[str, Any]) -> None:
        """Deliver events."""
        records = [
            self._api.Record(seq, type_, source, text.encode()) for seq, type_, source, text in message["events"]
        ]
        if asyncio.iscoroutinefunction(self._plugin.send):
            await self._plugin.send(records)
        elif hasattr(returned := await self._plugin.in_worker(self._plugin.send, records), "__await__"):
            await returned

    async def do_reopen(self, _message: dict[str, Any]) -> None:
        """Open files anew."""
        await self._plugin.reopen()

    async def do_leave(self, _message: dict[str, Any]) -> None:
        """Say good-bye to clients."""
        await self._plugin.leave()

    async def do_probe(self, message: dict[str, Any]) -> str:
        """Try who is asked or sent to, with a plugin that is not started."""
        context = self._api.Context(name=message["name"], host=self._api.Host(self._api.HostPaths(**message["host"])))
        plugin = self._class(made(self._api, self._class.config_type, message["options"]), context)
        try:
            return str(await plugin.probe())
        finally:
            await plugin.stop()

    async def do_shed(self, message: dict[str, Any]) -> None:
        """Give up what can be done without."""
        self._plugin.shed(self._api.Pressure(message["pressure"]))

    async def do_stop(self, _message: dict[str, Any]) -> None:
        """Stop the plugin; the process ends when that is answered."""
        if self._plugin is not None:
            await self._plugin.stop()

    def _collect(self) -> tuple[Any, dict[str, Any] | None, BaseException | None]:
        try:  # what is raised is handed over: futures refuse StopIteration
            returned = self._plugin.collect()
            self._same_process()
            if hasattr(returned, "__await__"):
                return returned, None, None
            return None, self._told(returned), None
        except StopIteration as error:
            return None, None, RuntimeError(f"StopIteration: {error}")
        except BaseException as error:  # noqa: BLE001  # whatever a plugin raises is its own failure
            return None, None, error

    def _told(self, families: Any) -> dict[str, Any]:
        """Return what was collected, as the agent is told of it."""
        if isinstance(families, (str, bytes, bytearray, Mapping, self._api.Family)) or not isinstance(
            families, Iterable
        ):
            single = isinstance(families, self._api.Family) or client_metric(families)
            advice = "put it into a list" if single else "expected a list or an iterator of Family"
            raise TypeError(f"returned {short(families)}, of type {type(families).__name__}: {advice}")
        heads: list[Any] = []
        values: list[Any] = []
        others: list[Any] = []
        for family in families:
            if isinstance(family, self._api.Family) and isinstance(family.samples, dict):
                heads.append([family.name, family.kind, family.help, family.label_names, list(family.samples)])
                values += family.samples.values()
            else:
                others.append(client_metric(family) or short(family))
            if len(values) > self._most or len(others) > self._most:  # the agent takes no more of them
                break
        told: dict[str, Any] = {"values": [each if type(each) is float else plain_value(each) for each in values]}
        if others:
            told["others"] = others
        if heads != self._heads:
            self._heads = told["heads"] = heads
        return told

    def _told_error(self, error: BaseException) -> dict[str, Any]:
        api = self._api
        names = ("NoData", "Refused", "Retry", "Reject")
        kind = next((name for name in reversed(names) if isinstance(error, getattr(api, name))), "")
        told: dict[str, Any] = {"kind": kind, "text": text_of(error) if kind else described(error)}
        if kind == "Retry":
            told.update(after=error.after, accepted=error.accepted)  # type: ignore[attr-defined]  # those of Retry
        if kind == "Reject":
            told["ids"] = sorted(error.ids)  # type: ignore[attr-defined]  # those of Reject
        return told

    def _emit(self, event: Any) -> None:
        self._same_process()
        self._link.send({"emit": event_fields(event)})

    async def _commit(self, events: Iterable[Any], state: Mapping[str, Any]) -> None:
        future = self._loop.create_future()
        number = id(future)
        self._commits[number] = future
        self._link.send({"commit": number, "events": [event_fields(each) for each in events], "state": dict(state)})
        await future
        for key, value in state.items():
            if value is None:
                self._state.pop(key, None)
            else:
                self._state[key] = value

    def _committed(self, message: dict[str, Any]) -> None:
        future = self._commits.pop(message["committed"])
        if future.done():  # whoever waited was cancelled
            return
        error = message.get("error")
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(self._api.NotDurable(error) if message.get("durable") else ValueError(error))


def event_fields(event: Any) -> dict[str, Any]:
    """Return an event as a JSON object."""
    names = ("id", "type", "source", "target", "timestamp", "payload", "meta")
    return {name: getattr(event, name) for name in names}


def client_metric(metric: Any) -> dict[str, Any] | None:
    """Return a metric of prometheus_client as a JSON object; None where it is none."""
    try:
        samples = [[each.name, dict(each.labels), each.value] for each in metric.samples]
        told = {"name": metric.name, "type": metric.type, "help": metric.documentation, "samples": samples}
    except (AttributeError, TypeError, ValueError):
        return None
    return told


def plain_value(value: Any) -> Any:
    """Return a value of a sample as JSON has it: a number, or an object of a histogram or summary."""
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return short(value)
    for many in ("buckets", "quantiles"):
        if hasattr(value, many):
            return {many: getattr(value, many), "count": value.count, "sum": value.sum}
    return short(value)


def short(value: object) -> str:
    """Return what a plugin handed out in at most 100 characters."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # a plugin's __repr__ may raise anything
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= 100 else text[:97] + "..."


def text_of(error: BaseException) -> str:
    """Return what an error says, on one line."""
    try:
        return " ".join(str(error).splitlines())[:500]
    except Exception as another:  # noqa: BLE001  # a plugin's error may be as broken as the plugin
        return f"<no text: {type(another).__name__} when asked for it>"


def described(error: BaseException) -> str:
    """Return an error in one line, with the last place outside of agentd's own code through which it came."""
    own = described.__code__.co_filename.rsplit("/", 2)[0] + "/"
    trace, where = error.__traceback__, ""
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(own):
            where = f" (at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {text_of(error)}{'' if isinstance(error, SyntaxError) else where}"


def load(api: Any, kind: str, plugin: str, module: str, file: str | None) -> Any:
    """Import a plugin's file or module, and return its class. Raises what importing raises."""
    found = importlib.import_module(module) if file is None else load_file(module, file)
    hooks = [each for name, each in vars(found).items() if hook_of(name, each) == f"agentd_{kind}"]
    functions = [getattr(each, "plugin", None) for each in vars(found).values() if kind == "collectors"]
    made_of = [each for each in functions if isinstance(each, type) and each.__module__ == module]
    if not hooks and not made_of:
        raise LookupError(f"{file or module} implements no hook agentd_{kind}: mark it with @hookimpl")
    base = getattr(api, KINDS[kind])
    names = []
    for each in [*(each for hook in hooks for each in hook()), *made_of]:
        if not (isinstance(each, type) and issubclass(each, base)):
            raise TypeError(f"agentd_{kind} returned {short(each)}, which is no class of {base.__name__}")
        names.append(getattr(each, "name", each.__name__))
        if names[-1] == plugin:
            return each
    raise LookupError(
        f"{file or module} registers no {kind[:-1]} named {plugin}: there is {', '.join(names) or 'none'}"
    )


def hook_of(name: str, value: Any) -> str:
    """Return the hook that something in a module implements; nothing where it implements none."""
    marked = getattr(value, "agentd_impl", None)
    return str(marked.get("specname") or name) if isinstance(marked, dict) else ""


def load_file(module: str, file: str) -> types.ModuleType:
    """Import a file under a private name; its folder does not come onto ``sys.path``."""
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded as a Python module")
    found = importlib.util.module_from_spec(spec)
    sys.modules[module] = found
    spec.loader.exec_module(found)
    return found


# How the agent learns what options there are: types become JSON, and values come back as the types.

NAMED = ("Duration", "Size", "Regex", "Url", "Secret")
"""The option types that are made from one plain value by being called with it."""

PLAIN = {str: "str", int: "int", float: "float", bool: "bool", type(None): "none"}

BOUNDS = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "min_length", "max_length")


def describe(api: Any, cls: Any) -> dict[str, Any]:
    """Return what the agent has to know of a plugin's class."""
    config = cls.config_type
    told = {name: getattr(cls, name) for name in ("interval", "max_series", "foreign", "extra") if hasattr(cls, name)}
    metrics = []
    for value in (getattr(cls, name, None) for name in dir(cls)):
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        metrics += [
            [each.name, each.kind, each.help, each.labels, each.unit] for each in values if isinstance(each, api.Metric)
        ]
    told.update(
        doc=cls.__doc__ or "",
        fields=fields_of(api, config),
        checks=hasattr(config, "__post_init__") or config.metric_names is not api.Config.metric_names,
        probes=cls.probe is not api.Plugin.probe,
        metrics=metrics,
    )
    return told


def hints_of(type_: Any) -> dict[str, Any]:
    """Return the types of a class's fields."""
    extras: dict[str, Any] = {"include_extras": True} if hasattr(typing, "Annotated") else {}  # since Python 3.9
    return typing.get_type_hints(type_, **extras)


def defaults_of(type_: Any) -> dict[str, Any]:
    """Return the defaults of the fields that have one."""
    if hasattr(type_, "__struct_fields__"):  # of msgspec, where the real agentd is
        structs = importlib.import_module("msgspec.structs")
        nothing = importlib.import_module("msgspec").NODEFAULT
        found = {}
        for field in structs.fields(type_):
            if field.default is not nothing:
                found[field.name] = field.default
            elif field.default_factory is not nothing:
                found[field.name] = field.default_factory()
        return found
    return {name: getattr(type_, name) for name in hints_of(type_) if hasattr(type_, name)}


def fields_of(api: Any, type_: Any) -> list[dict[str, Any]]:
    """Return the options of a class: name, type, and the default where there is one."""
    defaults = defaults_of(type_)
    docs = {name: doc for base in reversed(type_.__mro__) for name, doc in docs_of(base).items() if doc}
    told = []
    for name, hint in hints_of(type_).items():
        if typing.get_origin(hint) is ClassVar:
            continue
        field = {"name": name, "type": type_of(api, hint, name), "doc": docs.get(name, "")}
        if name in defaults:
            field["default"] = plain(api, defaults[name])
        told.append(field)
    return told


def docs_of(type_: Any) -> dict[str, str]:
    """Return the docstrings below a class's fields."""
    file = getattr(sys.modules.get(type_.__module__), "__file__", None)
    try:
        with open(file or os.devnull, encoding="utf-8") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return {}
    docs: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == type_.__name__:
            for field, below in zip(node.body, node.body[1:]):  # noqa: B905  # strict= came with Python 3.10
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    docs[field.target.id] = ast.get_docstring(ast.Module([below], [])) or ""
    return docs


def type_of(api: Any, hint: Any, name: str) -> Any:
    """Return a type as JSON."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:  # which is a class since Python 3.11
        return "any"
    if origin is None and isinstance(hint, type):
        return class_of(api, hint, name)
    if hasattr(hint, "__metadata__"):
        bounds = {each: getattr(meta, each, None) for meta in hint.__metadata__ for each in BOUNDS}
        return {"type": type_of(api, arguments[0], name), "bounds": {k: v for k, v in bounds.items() if v is not None}}
    if origin is Union or origin is getattr(types, "UnionType", Union):
        return {"union": [type_of(api, each, name) for each in arguments]}
    if origin is typing.Literal:
        return {"literal": list(arguments)}
    if origin in (list, set, frozenset, tuple):
        elements = [each for each in arguments if each is not Ellipsis]
        if len(elements) == 1:
            return {origin.__name__: type_of(api, elements[0], name)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"dict": type_of(api, arguments[1], name)}
    raise TypeError(f"option {name}: {hint!r} cannot be told from one process to another")


def class_of(api: Any, hint: type, name: str) -> Any:
    """Return a class as JSON."""
    if hint in PLAIN:
        return PLAIN[hint]
    if hint.__name__ in NAMED and hint is getattr(api, hint.__name__):
        return hint.__name__
    if hasattr(hint, "__struct_fields__") or issubclass(hint, api.Config):
        return {"struct": hint.__name__, "fields": fields_of(api, hint)}
    raise TypeError(f"option {name}: {hint.__name__} cannot be told from one process to another")


def plain(api: Any, value: Any) -> Any:
    """Return an option's value as JSON."""
    if isinstance(value, api.Secret):
        return value.reveal()
    if isinstance(value, api.Regex):
        return value.pattern
    if isinstance(value, bool) or value is None:
        return value
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, Mapping):
        return {str(name): plain(api, each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(api, each) for each in value]
    return {name: plain(api, getattr(value, name)) for name in hints_of(type(value))}


def made(api: Any, type_: Any, options: Mapping[str, Any]) -> Any:
    """Make a plugin's options of plain values. Raises what its ``__post_init__`` raises."""
    if hasattr(type_, "__struct_fields__"):
        msgspec = importlib.import_module("msgspec")
        values = {
            name: msgspec.convert(options[name], hint, dec_hook=lambda to, value: to(value))
            for name, hint in hints_of(type_).items()
            if name in options
        }
        return type_(**values)
    hints = hints_of(type_).items()
    return type_(**{name: converted(api, hint, options[name]) for name, hint in hints if name in options})


def converted(api: Any, hint: Any, value: Any) -> Any:
    """Make a value of a type from what JSON has; the agent has checked that it fits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):
        return converted(api, arguments[0], value)
    if origin is Union or origin is getattr(types, "UnionType", Union):
        if value is None:
            return None
        for each in arguments:
            try:
                return converted(api, each, value)
            except (TypeError, ValueError, AttributeError):
                continue
    if origin in (list, set, frozenset, tuple) and isinstance(value, list):
        return origin(converted(api, arguments[0], each) for each in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {name: converted(api, arguments[1], each) for name, each in value.items()}
    if isinstance(hint, type):
        if issubclass(hint, api.Config):
            return made(api, hint, value)
        if hint.__name__ in NAMED or (hint is float and type(value) is int):
            return hint(value)
        if hint in PLAIN and not isinstance(value, hint):
            raise TypeError(f"{value!r} is no {hint.__name__}")
    return value


# What stands in for agentd.plugin where that cannot be imported. It has what a collector or sink in a child can use;
# names, arguments and results are the same. The agent checks what comes of it, so nothing is checked here.


class Duration(float):
    """A length of time in seconds."""

    def __new__(cls, value: Any = 0.0) -> Duration:
        """Make one of a text or a number."""
        return cls.parse(value) if isinstance(value, str) else super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Return the duration that a string such as ``"1h30m"`` names."""
        units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
        if not re.fullmatch(r"([0-9]{1,12}(\.[0-9]+)?(ms|[smhdw]))+", text):
            raise ValueError('expected a duration with its unit, such as "250ms", "15s" or "1h30m"')
        return cls(sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[smhdw])", text)))


class Size(int):
    """A number of bytes."""

    def __new__(cls, value: Any = 0) -> Size:
        """Make one of a text or a number."""
        return cls.parse(value) if isinstance(value, str) else super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size that a string such as ``"64MiB"`` names."""
        match = re.fullmatch(r"([0-9]{1,18}(\.[0-9]+)?) ?(?:([KMGT])(i?))?B", text)
        if not match:
            raise ValueError('expected a size with its unit, such as "512KiB" or "64MiB"')
        number = (float if match[2] else int)(match[1])
        return cls(number * (1024 if match[4] else 1000) ** " KMGT".index(match[3] or " "))


class Regex:
    """A regular expression, searched for anywhere in a text."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.search = re.compile(pattern).search

    def __str__(self) -> str:
        return self.pattern


class Url(str):
    """An absolute URL."""


class Secret:
    """A text that is never printed; ``reveal()`` returns it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


class Config:
    """The options of a plugin: its fields with their types and defaults. They cannot be changed."""

    def __init_subclass__(cls, **_keywords: Any) -> None:
        super().__init_subclass__()

    def __init__(self, **values: Any) -> None:
        defaults = defaults_of(type(self))
        for name in hints_of(type(self)):
            if name not in values and name not in defaults:
                raise TypeError(f"Missing required argument '{name}'")
            value = values.get(name, defaults.get(name))
            object.__setattr__(self, name, value.copy() if isinstance(value, (list, dict, set)) else value)
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()

    def metric_names(self) -> Mapping[tuple[str, ...], str]:
        """Return the names of metrics that options give."""
        return {}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"immutable type: '{type(self).__name__}'")


class Histogram:
    """One sample of a histogram: pairs of an upper bound and the cumulative count, the count, and the sum."""

    def __init__(self, buckets: Any, count: float, sum: float) -> None:
        self.buckets, self.count, self.sum = buckets, count, sum


class Summary:
    """One sample of a summary: pairs of a quantile and its value, the count, and the sum."""

    def __init__(self, quantiles: Any, count: float, sum: float) -> None:
        self.quantiles, self.count, self.sum = quantiles, count, sum


class Family:
    """Samples of one name."""

    def __init__(
        self, name: str, kind: str, help: str, label_names: tuple[str, ...], samples: dict[tuple[Any, ...], Any]
    ) -> None:
        self.name, self.kind, self.help, self.label_names, self.samples = name, kind, help, label_names, samples

    @classmethod
    def gauge(cls, name: str, help: str, samples: Any, labels: tuple[str, ...] = ()) -> Family:
        """Return a family of values that go up and down."""
        return cls(name, "gauge", help, labels, keyed(samples))

    @classmethod
    def counter(cls, name: str, help: str, samples: Any, labels: tuple[str, ...] = ()) -> Family:
        """Return a family of values that only grow."""
        return cls(name, "counter", help, labels, keyed(samples))

    @classmethod
    def unknown(cls, name: str, help: str, samples: Any, labels: tuple[str, ...] = ()) -> Family:
        """Return a family of which nobody says whether it is a gauge or a counter."""
        return cls(name, "unknown", help, labels, keyed(samples))

    @classmethod
    def histogram(cls, name: str, help: str, samples: Any, labels: tuple[str, ...] = ()) -> Family:
        """Return a family of ``Histogram`` samples."""
        return cls(name, "histogram", help, labels, keyed(samples))

    @classmethod
    def summary(cls, name: str, help: str, samples: Any, labels: tuple[str, ...] = ()) -> Family:
        """Return a family of ``Summary`` samples."""
        return cls(name, "summary", help, labels, keyed(samples))


def keyed(samples: Any) -> dict[Any, Any]:
    """Return samples as a mapping from label values: see ``Samples`` of agentd."""
    if isinstance(samples, (int, float, Histogram, Summary)):
        return {(): samples}
    return {(key,) if isinstance(key, str) else key: value for key, value in dict(samples).items()}


class Metric:
    """A declared family: call it with samples to get a ``Family``."""

    def __init__(self, name: str, kind: str, help: str, labels: tuple[str, ...] = (), unit: str = "") -> None:
        self.name, self.kind, self.help, self.labels, self.unit = name, kind, help, labels, unit

    def __call__(self, samples: Any) -> Family:
        """Return a family of these samples."""
        return Family(self.name, self.kind, self.help, self.labels, keyed(samples))

    def named(self, part: str, samples: Any) -> Family:
        """Return a family whose name has ``part`` in the place of ``*``."""
        return self.bound(part)(samples)

    def bound(self, part: str) -> Metric:
        """Return the metric that ``named`` makes families of."""
        return Metric(self.name.replace("*", part), self.kind, self.help.replace("{}", part), self.labels)


def gauge(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a gauge."""
    return Metric(name, "gauge", help, labels, unit)


def counter(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a counter."""
    return Metric(name, "counter", help, labels, unit)


def unknown(name: str, help: str, labels: tuple[str, ...] = (), *, unit: str = "") -> Metric:
    """Declare a family of unknown kind."""
    return Metric(name, "unknown", help, labels, unit)


class NoData(Exception):
    """Raised by a collector for whose subject this machine lacks the thing."""


class Refused(NoData):
    """Raised where the machine has the thing, but this process may not ask for it."""


class Retry(Exception):
    """Raised by a sink that could not deliver all now."""

    def __init__(self, why: str = "", *, after: float | None = None, accepted: int = 0) -> None:
        super().__init__(why)
        self.after = after
        self.accepted = accepted


class Reject(Exception):
    """Raised by a sink that delivered all but these."""

    def __init__(self, ids: Iterable[str], why: str) -> None:
        super().__init__(why)
        self.ids = frozenset(ids)


class NotDurable(Exception):
    """Raised by ``commit`` where nothing can be written down now."""


class Event:
    """Something that happened."""

    def __init__(
        self,
        *,
        type: str,
        id: str = "",
        source: str = "",
        target: str | None = None,
        timestamp: float = 0.0,
        payload: dict[str, Any] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        self.id, self.type, self.source, self.target, self.timestamp = id, type, source, target, timestamp
        self.payload = {} if payload is None else payload
        self.meta = {} if meta is None else meta


class Record:
    """An event on its way to a sink."""

    def __init__(self, seq: int, type: str, source: str, json: bytes) -> None:
        self.seq, self.type, self.source, self.json = seq, type, source, json

    @property
    def event(self) -> Event:
        """The event itself."""
        return Event(**json.loads(self.json))

    @property
    def id(self) -> str:
        """The event's id, by which a receiver knows a repeat."""
        return self.event.id


class HostPaths:
    """Where the kernel's file systems are mounted."""

    def __init__(
        self, procfs: str = "/proc", sysfs: str = "/sys", rootfs: str = "/", udev_data: str = "/run/udev/data"
    ) -> None:
        self.procfs, self.sysfs, self.rootfs, self.udev_data = procfs, sysfs, rootfs, udev_data


class Host:
    """Reads files of the watched machine."""

    def __init__(self, paths: HostPaths | None = None) -> None:
        self.paths = paths or HostPaths()

    def proc(self, name: str) -> bytes:
        """Return the contents of a file below procfs."""
        with open(f"{self.paths.procfs}/{name}", "rb") as file:
            return file.read()

    def sys(self, name: str, *, lasting: bool = False) -> bytes:
        """Return the contents of a file below sysfs without the line break at its end."""
        with open(f"{self.paths.sysfs}/{name}", "rb") as file:
            return file.read().rstrip(b"\n")

    def has(self, folder: str) -> bool:
        """Say whether there is anything in a folder of sysfs."""
        try:
            return bool(os.listdir(f"{self.paths.sysfs}/{folder}"))
        except OSError:
            return False

    def path(self, name: str) -> Any:
        """Return where a file is found under ``rootfs``."""
        from pathlib import Path

        return Path(self.paths.rootfs) / name.lstrip("/")


class Clock:
    """The time."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class Context:
    """What a plugin is given beside its options."""

    def __init__(
        self,
        *,
        name: str = "plugin",
        host: Host | None = None,
        labels: Mapping[str, str] | None = None,
        emit: Callable[[Event], None] = lambda _event: None,
        commit: Callable[..., Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.host, self.clock, self.emit, self.commit = name, host or Host(), Clock(), emit, commit
        self.labels = {} if labels is None else labels
        self.state = {} if state is None else state
        self.deadline: float | None = None


C = TypeVar("C")


class Plugin(Generic[C]):
    """What collectors and sinks have in common."""

    name: str
    config_type: Any = Config
    extra = ""
    exclusive = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in typing.get_args(base):
                if isinstance(argument, type) and issubclass(argument, Config):
                    cls.config_type = argument
                elif typing.get_origin(base).__module__ == __name__ and not (
                    argument is Any or type(argument) is TypeVar
                ):
                    raise TypeError(f"{argument!r} in the brackets is no class of options: let it extend Config")

    def __init__(self, config: Any = None, context: Context | None = None) -> None:
        self.config = config if config is not None else self.config_type()
        self.context = context or Context(name=getattr(type(self), "name", type(self).__name__))
        self.log = logging.getLogger(f"agentd.{self.context.name}")

    @property
    def host(self) -> Host:
        """The machine's own files."""
        return self.context.host

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.context.clock

    @property
    def state(self) -> Mapping[str, Any]:
        """What this plugin has committed as its state."""
        return self.context.state

    async def start(self) -> None:
        """Open what the plugin needs."""

    async def leave(self) -> None:
        """Say good-bye to whoever holds a connection."""

    async def stop(self) -> None:
        """Close what ``start`` opened."""

    def routes(self) -> Iterable[Any]:
        """Return nothing: a child answers no requests."""
        return ()

    def about(self) -> Iterable[Family]:
        """Return nothing: the agent tells about a child itself."""
        return ()

    async def probe(self) -> str:
        """Return in a line what answers where this plugin sends to or asks."""
        return "cannot be tried: the plugin has no probe()"

    def shed(self, pressure: int) -> None:
        """Give up what is asked for."""

    def event(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> Event:
        """Return an event of this plugin's, of now."""
        now = self.clock.time()
        return Event(type=type, source=self.context.name, target=target, timestamp=now, payload=dict(payload or {}))

    def emit(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> None:
        """Say that something happened."""
        self.context.emit(self.event(type, payload, target=target))

    async def commit(self, events: Iterable[Event] = (), state: Mapping[str, Any] | None = None) -> None:
        """Write events and state down in one transaction."""
        if self.context.commit is None:
            raise NotDurable("this context has no journal: only the agent's own has")
        await self.context.commit(list(events), state or {})

    def harmless(self, text: object) -> str:
        """Return what somebody else says, without the secrets of the options."""
        said = str(text)
        for value in vars(self.config).values():
            if isinstance(value, Secret) and len(value.reveal()) >= 3:
                said = said.replace(value.reveal(), "***")
        return said

    async def in_worker(self, function: Callable[..., Any], *args: object) -> Any:
        """Run a function that may block in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*args))


class Collector(Plugin[C]):
    """Gathers families when asked."""

    blocking = True
    foreign = False
    interval: float | None = None
    max_series = 20_000

    def collect(self) -> Any:
        """Return what is to be told now."""
        raise NotImplementedError(f"{type(self).__name__} has no collect()")

    def time_left(self) -> float:
        """Return how many seconds the present collection may still take."""
        if self.context.deadline is None:
            return float("inf")
        return max(0.0, self.context.deadline - self.clock.monotonic())


class Sink(Plugin[C]):
    """Carries events to where they belong."""

    async def send(self, events: Any) -> None:
        """Deliver events, in their order."""
        raise NotImplementedError(f"{type(self).__name__} has no send()")

    async def reopen(self) -> None:
        """Open files anew."""


def collector(*metrics: Any, name: str = "", interval: Any = None, blocking: bool = True) -> Any:
    """Make a collector of the function below, which takes nothing, its options, or the plugin."""
    if len(metrics) == 1 and not isinstance(metrics[0], Metric):
        return collector(name=name, interval=interval, blocking=blocking)(metrics[0])

    def decorated(function: Any) -> Any:
        given = list(inspect.signature(function).parameters)[:1]
        hint = hints_of(function).get(given[0]) if given else None
        options = [
            each for each in (hint, *typing.get_args(hint)) if isinstance(each, type) and issubclass(each, Config)
        ]
        if given and not options and Collector not in (hint, typing.get_origin(hint)):
            raise TypeError(f"{function.__name__}({given[0]}): annotate it with a class of Config, or Collector[…]")

        def collect(self: Any) -> Any:
            returned = function(*([self.config if options[:1] == [hint] else self] if given else []))
            return waited(returned) if hasattr(returned, "__await__") else families(returned)

        async def waited(returned: Any) -> Any:
            return families(await returned)

        def families(returned: Any) -> Any:
            return families_of(returned, metrics, (function.__doc__ or "").strip() or function.__name__)

        function.plugin = type(
            function.__name__,
            (Collector,),
            {
                "name": name or function.__name__,
                "config_type": options[0] if options else Config,
                "interval": Duration.parse(interval) if isinstance(interval, str) else interval,
                "blocking": blocking,
                "metrics": metrics,
                "collect": collect,
                "__doc__": function.__doc__,
                "__module__": function.__module__,
            },
        )
        return function

    return decorated


def families_of(returned: Any, metrics: tuple[Metric, ...], help: str) -> Any:
    """Return what a decorated function returned as families."""
    numbers = (int, float, Histogram, Summary)
    if isinstance(returned, Family):
        return [returned]
    if isinstance(returned, Mapping) and not (len(metrics) == 1 and metrics[0].labels):
        declared = {metric.name: metric for metric in metrics}
        kinds = {name: "counter" if name.endswith("_total") else "gauge" for name in returned}
        return [
            declared.get(name, Metric(name, kinds[name], help))(samples)
            for name, samples in returned.items()
            if samples is not None
        ]
    if isinstance(returned, (*numbers, Mapping)):
        if len(metrics) != 1:
            raise TypeError(f"returned {short(returned)}, and it is not declared of which metric")
        return [metrics[0](returned)]
    return returned


def hookimpl(function: Any = None, *, specname: str | None = None, **_options: object) -> Any:
    """Mark a function as the implementation of a hook."""
    if function is None:
        return lambda given: hookimpl(given, specname=specname)
    function.agentd_impl = {"specname": specname}  # as pluggy's marker does
    return function


API_VERSION = (1, 0)
"""The version of the interface for which this stands in."""

STANDS_IN = (
    Clock, Collector, Config, Context, Duration, Event, Family, Histogram, Host, HostPaths, Metric, NoData, NotDurable,
    Plugin, Record, Refused, Regex, Reject, Retry, Secret, Sink, Size, Summary, Url, collector, counter, gauge,
    hookimpl, unknown,
)  # fmt: skip


def stand_in() -> Any:
    """Return ``agentd.plugin`` as it is where agentd cannot be imported, and let plugins import it."""
    package, module = types.ModuleType("agentd"), types.ModuleType("agentd.plugin", __doc__)
    for each in STANDS_IN:
        setattr(module, each.__name__, each)
    module.API_VERSION = API_VERSION  # type: ignore[attr-defined]  # as in agentd.plugin
    module.Pressure = int  # type: ignore[attr-defined]  # its steps are numbers
    module.Labels = module.Samples = module.Value = Any  # type: ignore[attr-defined]  # for annotations

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"agentd.plugin has no {name} in a process of another interpreter: see docs/isolation.md")

    module.__getattr__ = missing  # type: ignore[method-assign]  # PEP 562
    package.plugin = module  # type: ignore[attr-defined]  # as import does
    package.__path__ = []
    sys.modules.update({"agentd": package, "agentd.plugin": module})
    return module


def main(connection: socket.socket) -> None:
    """Run a plugin until the agent ends this process. The agent's own ``agentd.plugin`` is used where there is one."""
    # The agent ends its children itself: what systemd sends to every process of the unit must not be faster. These are
    # handlers, because what is ignored stays so in programs that the plugin runs.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):  # what a plugin prints is told at once
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # both are files here
    faulthandler.enable(all_threads=False)
    try:
        api: Any = importlib.import_module("agentd.plugin")
    except Exception:  # noqa: BLE001  # it is not there, or this Python cannot read it
        api = stand_in()
    Child(Link(connection), api).run()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[-1])))

"""Loads plugins through pluggy, one by one, so that a broken one is named and left out while all others run."""

import importlib.util
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from zlib import crc32

import msgspec
import pluggy

import agentd_plugins
from agentd import discovery, hookspecs
from agentd.config import KEYS
from agentd.config.settings import Kind
from agentd.discovery import Found
from agentd.errors import described
from agentd.isolation.apart import Apart
from agentd.isolation.launcher import Launcher
from agentd.isolation.source import DescribeError, Source
from agentd.metrics.assembly import short
from agentd.metrics.family import Family
from agentd.options import Config
from agentd.plugin import Collector, Event, Exporter, Plugin, Sink
from agentd.plugin.declared import declared_metrics
from agentd.plugin.functions import functions_of
from agentd.plugin.kinds import exports

log = logging.getLogger(__name__)

_BASES: dict[str, type[Plugin[Any]]] = {"collectors": Collector, "exporters": Exporter, "sinks": Sink}


class PluginError(Exception):
    """A plugin could not be loaded; the text says why and where."""


class _Hooks(pluggy.PluginManager):
    """Looks at the functions of a module alone: pluggy asks all that is in it, which costs more than to import it."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return how a hook is implemented by what a module has under a name; None where it is none."""
        value = vars(plugin).get(name) if isinstance(plugin, ModuleType) else None
        marked = isinstance(value, FunctionType) and hasattr(value, "agentd_impl")
        return super().parse_hookimpl_opts(plugin, name) if marked else None


class Registry:
    """The plugins that there are, and the classes of those that were loaded.

    Nothing is imported before its class is asked for, but for files in plugin folders: only loading tells their kind.
    """

    def __init__(
        self,
        plugin_dirs: Sequence[str] = (),
        before: "Registry | None" = None,
        apart: Mapping[tuple[str, str], str | None] | None = None,
    ) -> None:
        """Look at what there is. Files in plugin folders that are as they were ``before`` are not loaded again.

        Plugins that run ``apart``, in processes alone, are not imported here: these tell of them.
        """
        self._apart: Apart = Apart(apart or {}, before._apart if before is not None else None)  # noqa: SLF001  # as above
        self.launcher: Launcher = self._apart.launcher
        """Begins the processes of plugins that have some."""
        self._modules: dict[str, tuple[int, ModuleType]] = {}
        self._before = before._modules if before is not None else {}  # noqa: SLF001  # one of its kind
        self._pluggy = _Hooks("agentd")
        self._pluggy.add_hookspecs(hookspecs)
        self._found: dict[tuple[str, str], Found] = {}
        self._classes: dict[tuple[str, str], type[Plugin[Any]]] = {}
        self._failed: dict[str, str] = {}
        self._failing: set[tuple[str, str]] = set()
        self._local: list[tuple[str, str]] = []
        self.broken_files: dict[str, str] = {}
        """Files in plugin folders that could not be loaded (``plugin_dirs.NAME``), and why."""
        for found in chain(discovery.bundled(), discovery.installed()):
            assert found.kind is not None  # noqa: S101  # both sources know the kind
            first = self._found.setdefault((found.kind, found.name), found)
            if first is not found:
                log.warning("plugin %s.%s of %s is left out: %s has one of that name",
                            found.kind, found.name, found.origin, first.origin)  # fmt: skip
        for folder in plugin_dirs:
            if not discovery.expanded(folder).exists():
                log.warning("the folder of plugins %s is not there", folder)
        for found in discovery.in_folders(plugin_dirs):
            kinds = [kind for kind, name in self._apart.plugins if name == found.name]
            for kind in kinds:
                self._add_local(kind, found.name, found)
            if not kinds:
                self._load_local(found)
        self._before = {}

    def names(self, kind: str) -> Collection[str]:
        """Return the names of all plugins of a kind, sorted."""
        return sorted(name for found, name in self._found if found == kind)

    def defaults(self, kind: str) -> Mapping[str, str]:
        """Return the plugins that run unasked, and why: bundled ones, and collectors in plugin folders."""
        local = (name for found, name in self._local if found == kind == "collectors")
        return dict.fromkeys(agentd_plugins.defaults(kind), "default") | dict.fromkeys(local, "in a plugin folder")

    def paths(self) -> Mapping[str, str]:
        """Return the paths that bundled plugins answer, whether they run or not, and the section that adds each."""
        return agentd_plugins.PATHS

    def origin(self, kind: str, name: str) -> str:
        """Return where a plugin comes from, in words."""
        return self._found[kind, name].origin

    def file(self, kind: str, name: str) -> Path | None:
        """Return the file that a plugin's module is, or the ``__init__.py`` of its package; None where there is none.

        Imports the packages around it.
        """
        found = self._found[kind, name]
        if found.file is not None:
            return found.file
        try:
            spec = importlib.util.find_spec(found.module)
        except Exception:  # noqa: BLE001  # whatever a package raises that is imported for this
            return None
        return Path(spec.origin) if spec is not None and spec.origin is not None else None

    def plugin_class(self, kind: str, name: str) -> type[Plugin[Any]]:
        """Return a plugin's class, importing its module where that has not been done.

        Raises ``PluginError`` where it cannot be loaded, and ``KeyError`` where there is none of that name.
        """
        if (kind, name) not in self._classes:
            found = self._found[kind, name]
            if (kind, name) in self._apart.plugins:
                source = self.source(kind, name, self._apart.plugins[kind, name])
                try:
                    self._classes[kind, name] = self._apart.plugin_class(source)
                except DescribeError as error:
                    raise PluginError(str(error)) from error
                return self._classes[kind, name]
            if found.module in self._failed:
                raise PluginError(self._failed[found.module])
            if not self._pluggy.has_plugin(found.module):
                self._load(found)
            if (kind, name) not in self._classes:
                raise PluginError(f"{found.module} registers no {kind[:-1]} named {name}")
        return self._classes[kind, name]

    def source(self, kind: str, name: str, python: str | None) -> Source:
        """Return where a process finds a plugin."""
        found = self._found[kind, name]
        return Source(kind, name, found.module, None if found.file is None else str(found.file), python)

    def code(self, kind: str, name: str) -> object:
        """Return what is equal as long as a plugin's code is: its class, or why it cannot be loaded."""
        try:
            return self.plugin_class(kind, name)
        except PluginError as error:
            return str(error)
        except KeyError:
            return None

    def config_type(self, kind: str, name: str) -> type[Config] | None:
        """Return the class of a plugin's options, or None where the plugin cannot be loaded."""
        try:
            return self.plugin_class(kind, name).config_type
        except PluginError:
            return None

    def exports(self, name: str) -> bool:
        """Say whether an exporter carries metrics out by itself; also where it cannot be loaded, and nobody knows."""
        try:
            return exports(self.plugin_class("exporters", name))
        except PluginError:
            return True

    def metrics(self, kind: str, name: str) -> Collection[str]:
        """Return the names of the metrics that a plugin's class declares; none where it cannot be loaded."""
        try:
            return {metric.name for metric in declared_metrics(self.plugin_class(kind, name))}
        except PluginError:
            return ()

    def load_installed(self) -> None:
        """Import the plugins of installed packages, to ask them for what is no collector or exporter."""
        for (kind, name), found in list(self._found.items()):
            if found.origin.startswith("package "):
                self.config_type(kind, name)

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Call each implementation of a hook on its own, and return what they return; None for those that raise.

        One that does is named in the log the first time.
        """
        return [self._ask(hook, implementation, arguments) for implementation in self._implementations(hook)]

    def implemented(self, hook: str) -> bool:
        """Say whether any loaded plugin implements a hook."""
        return bool(self._implementations(hook))

    def transform(self, plugin: str, families: Sequence[Family]) -> Sequence[Family]:
        """Let every ``agentd_families`` hook in turn change what a collector returned."""
        hook = "agentd_families"
        for implementation in self._implementations(hook):
            changed = self._ask(hook, implementation, {"plugin": plugin, "families": families}, _families)
            families = families if changed is None else changed
        return families

    def changed(self, event: Event, check: Callable[[Event], object]) -> Event | None:
        """Let every ``agentd_event`` hook in turn change an event; None where one drops it.

        Where a hook fails, or ``check`` refuses what it made of the event, all that it changed is undone. Raises what
        ``check`` raises for the event as it was given.
        """
        hook = "agentd_event"
        check(event)
        for implementation in self._implementations(hook):
            before = msgspec.structs.replace(event)
            inner = msgspec.json.encode((event.payload, event.meta))

            def checked(returned: Any, event: Event = event) -> Event | bool:
                found = event if returned is None else _event(returned)
                if found is not False:
                    check(found)
                return found

            answer = self._ask(hook, implementation, {"event": event}, checked)
            if answer is False:
                return None
            if answer is None:
                payload, meta = msgspec.json.decode(inner)
                answer = msgspec.structs.replace(before, payload=payload, meta=meta)
            event = answer
        return event

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        implementations: list[pluggy.HookImpl] = getattr(self._pluggy.hook, hook).get_hookimpls()
        return implementations

    def _ask(
        self,
        hook: str,
        implementation: pluggy.HookImpl,
        arguments: Mapping[str, Any],
        checked: Callable[[Any], Any] = lambda result: result,
    ) -> Any:
        try:
            return checked(implementation.function(*(arguments[name] for name in implementation.argnames)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a plugin's failure is its own
            if (implementation.plugin_name, hook) not in self._failing:
                self._failing.add((implementation.plugin_name, hook))
                log.error("plugin %s: hook %s failed: %s", implementation.plugin_name, hook, described(error))
            return None

    def _load_local(self, found: Found) -> None:
        try:
            open_to = discovery.open_to_everybody(found)
            if open_to is not None:
                raise PluginError(f"everybody can write {open_to}: chmod o-w {open_to}")
            classes = self._load(found)
        except PluginError as error:
            self.broken_files[f"plugin_dirs.{found.name}"] = str(error)
            log.error("plugin %s cannot be loaded: %s; everything else runs", found.origin, error)
            return
        for kind, cls in classes:
            if self._add_local(kind, cls.name, found):
                self._classes[kind, cls.name] = cls
                self._local.append((kind, cls.name))

    def _add_local(self, kind: str, name: str, found: Found) -> bool:
        first = self._found.get((kind, name))
        if first is None:
            self._found[kind, name] = found
        else:
            log.warning("plugin %s.%s of %s is left out: %s has one of that name",
                        kind, name, found.origin, first.origin)  # fmt: skip
        return first is None

    def _load(self, found: Found) -> list[tuple[str, type[Plugin[Any]]]]:
        try:
            module = self._module(found)
            try:
                self._pluggy.register(module, found.module)
                self._pluggy.check_pending()
                classes = [*self._registered(module), *(_checked("collectors", cls) for cls in functions_of(module))]
                if not classes and not self._pluggy.get_hookcallers(module):
                    raise PluginError(
                        "it registers nothing: mark agentd_collectors, say, with @hookimpl, or a function "
                        "with @collector"
                    )
            except BaseException:
                if self._pluggy.is_registered(module):
                    self._pluggy.unregister(module)
                raise
        except (Exception, SystemExit) as error:
            self._failed[found.module] = str(error) if isinstance(error, PluginError) else described(error)
            raise PluginError(self._failed[found.module]) from error
        if found.file is None:
            for kind, cls in classes:
                owner = self._found.get((kind, cls.name))
                if owner is not None and owner.module == found.module:  # nobody takes the place of another
                    self._classes.setdefault((kind, cls.name), cls)
        return classes

    def _module(self, found: Found) -> ModuleType:
        if found.file is None:
            return found.load()
        stamp = crc32(found.file.read_bytes())
        known, module = self._before.get(found.module, (None, None))
        if module is None or known != stamp:
            module = found.load()
        self._modules[found.module] = stamp, module
        return module

    def _registered(self, module: object) -> Iterator[tuple[str, type[Plugin[Any]]]]:
        for kind in KEYS:
            for implementation in getattr(self._pluggy.hook, f"agentd_{kind}").get_hookimpls():
                if implementation.plugin is not module:
                    continue
                returned: Any = implementation.function()
                if not isinstance(returned, Iterable):
                    raise PluginError(f"agentd_{kind} returned {short(returned)}: expected a list of classes")
                for cls in returned:
                    yield _checked(kind, cls)


def _checked(kind: Kind, cls: Any) -> tuple[str, type[Plugin[Any]]]:
    """Return a class with its kind. Raises ``PluginError`` where a module may not register it."""
    base = _BASES[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginError(f"agentd_{kind} returned {short(cls)}, which is no class of {base.__name__}")
    if not isinstance(getattr(cls, "name", None), str):
        raise PluginError(f'{cls.__name__} has no name: say `name = "…"` in the class')
    if taken := set(cls.config_type.__struct_fields__).intersection(KEYS[kind].__struct_fields__):
        raise PluginError(f"option {min(taken)} of {cls.__name__} is a key that every plugin has: rename it")
    return kind, cls


def _event(returned: Any) -> Any:
    if returned is not False and not isinstance(returned, Event):
        raise TypeError(f"it returned {short(returned)}: expected an event, False to drop it, or None to leave it")
    return returned


def _families(returned: Any) -> list[Family] | None:
    if returned is not None and not isinstance(returned, Iterable):
        raise TypeError(f"it returned {short(returned)}: expected families, or None to leave them as they are")
    return None if returned is None else list(returned)

"""A document and what plugins there are -> settings, or everything that is wrong with it at once."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from agentd.config.convert import required, to_fields, to_struct, unknown_key
from agentd.config.patterns import wrong
from agentd.config.problems import ConfigError, Problem, suggest
from agentd.config.settings import (
    SECTIONS,
    AgentSettings,
    CollectorKeys,
    ExporterKeys,
    Instance,
    JournalSettings,
    Kind,
    Settings,
    SinkKeys,
    Switches,
)
from agentd.config.source import UNITED, Document, Overrides
from agentd.config.spelling import found
from agentd.config.web import WebSettings, check
from agentd.host import HostPaths
from agentd.options import Config

KEYS: Mapping[Kind, type[CollectorKeys | ExporterKeys | SinkKeys]] = {
    "collectors": CollectorKeys,
    "exporters": ExporterKeys,
    "sinks": SinkKeys,
}
NAMES = (*SECTIONS, *KEYS)

SUGGESTED = 100
"""Problems with unknown names that come with what may have been meant: to look for that takes a millisecond."""

NO_INTERVAL = "it answers whoever asks, whenever that is, and exports nothing by itself: leave the interval out"

NO_PROCESS = (
    "an exporter runs in the agent: it needs all metrics at once, and most answer on the agent's web server; a program "
    "of its own can read them from there"
)

S = TypeVar("S", bound=msgspec.Struct)


class Catalog(Protocol):
    """What plugins there are: the registry tells."""

    @property
    def broken_files(self) -> Mapping[str, str]:
        """Files in plugin folders that cannot be loaded (``plugin_dirs.NAME``), and why."""

    def names(self, kind: str) -> Collection[str]:
        """Return the names of all plugins of a kind (``collectors``), loaded or not."""

    def defaults(self, kind: str) -> Mapping[str, str]:
        """Return the names of those that run without being asked for, in order, and why they do."""

    def config_type(self, kind: str, plugin: str) -> type[Config] | None:
        """Load a plugin and return the class of its options; None where it cannot be loaded.

        Asked for enabled plugins only. That one is broken is no error of the configuration.
        """

    def exports(self, plugin: str) -> bool:
        """Load an exporter, and say whether it carries metrics out by itself, at an interval; also where it cannot be
        loaded.
        """

    def metrics(self, kind: str, plugin: str) -> Collection[str]:
        """Return the names of the metrics that an enabled plugin makes, as far as they do not depend on its options."""


class Core(NamedTuple):
    """The core's own sections, and what is wrong with them."""

    agent: AgentSettings
    web: WebSettings
    host: HostPaths
    journal: JournalSettings
    problems: list[Problem]


def core(document: Document, *, overrides: Overrides | None = None) -> Core:
    """Return the core's own sections, before it is known which plugins there are, and what is wrong with them.

    In the place of a wrong value stands its default, so that checking can go on.
    """
    document = document.override(overrides or {})
    problems = list(document.problems)
    agent = _section(AgentSettings, "agent", document, problems)
    web = _section(WebSettings, "web", document, problems)
    host = _section(HostPaths, "host", document, problems)
    journal = _section(JournalSettings, "journal", document, problems)
    for label in agent.labels:
        if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", label):
            message = "expected a label name: letters, digits and _, no digit first, and not __ first"
            problems.append(document.problem(("agent", "labels", label), message))
    problems += check(web, document)
    return Core(agent, web, host, journal, problems)


def resolve(document: Document, catalog: Catalog, *, overrides: Overrides | None = None) -> Settings:
    """Return the settings that a document comes to. Raises ``ConfigError`` with all that is wrong."""
    document = document.override(overrides or {})
    agent, web, host, journal, problems = core(document)
    for name, value in document.values.items():
        if name not in NAMES:
            what = "section" if isinstance(value, Mapping) else "key"
            hint = suggest(name, NAMES) or f"; there are the sections {', '.join(NAMES)}"
            problems.append(document.problem((name,), f"no such {what}{hint}"))
    instances: list[Instance] = []
    disabled: dict[str, str] = {}
    for kind in KEYS:
        resolution = _Kind(kind, document, catalog, problems)
        instances += resolution.instances()
        disabled |= resolution.disabled
    problems += _metrics_of_two(instances, catalog, document)
    if problems:
        places = {str(file): index for index, file in enumerate(document.files)}
        problems.sort(key=lambda problem: _place(problem, places))
        raise ConfigError(problems)
    return Settings(agent, web, host, journal, tuple(instances), disabled, document)


class _Kind:
    """The plugins of one kind: which are on, and with which settings."""

    def __init__(self, kind: Kind, document: Document, catalog: Catalog, problems: list[Problem]) -> None:
        self.disabled: dict[str, str] = {}
        self._kind = kind
        self._document = document
        self._catalog = catalog
        self._problems = problems
        self._known = catalog.names(kind)
        self._sections: dict[str, Mapping[str, Any]] = {}

    def instances(self) -> Iterator[Instance]:
        table = self._document.values.get(self._kind, {})
        lists = {name: table[name] for name in UNITED if name in table} if isinstance(table, Mapping) else table
        switches = Switches(**to_fields(Switches, lists, (self._kind,), self._document, self._problems))
        if isinstance(table, Mapping):
            self._sections = dict(self._checked_sections(table))
        self._check_names(switches)
        off = {name: self._origin("disable", str(index)) for index, name in enumerate(switches.disable)}
        self.disabled |= {f"{self._kind}.{name}": f"disabled in {origin}" for name, origin in off.items()}
        reasons = {name: f"[{self._kind}.{name}] in {self._origin(name)}" for name in self._sections}
        for index, name in enumerate(switches.enable):
            reasons[name] = f"enabled in {self._origin('enable', str(index))}"
        defaults = self._catalog.defaults(self._kind)
        reasons |= defaults
        for name in dict.fromkeys((*defaults, *switches.enable, *self._sections)):
            instance = self._instance(name, reasons[name], by_default=name in defaults, off=name in off)
            if instance is not None:
                yield instance

    def _checked_sections(self, table: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, section in table.items():
            if name in UNITED:
                continue
            path = (self._kind, name)
            if isinstance(section, Mapping) and re.fullmatch(r"[A-Za-z0-9_-]+", name):
                yield name, section
            elif isinstance(section, Mapping):
                self._reject(path, "expected a name of letters, digits, _ and -")
            elif name in self._known:
                self._reject(path, f"expected a table, [{self._kind}.{name}]; found {found(section)}")
            else:
                self._reject(path, unknown_key(name, UNITED))

    def _check_names(self, switches: Switches) -> None:
        for switch, names in (("enable", switches.enable), ("disable", switches.disable)):
            for index, name in enumerate(names):
                if name not in self._sections:
                    self._is_known(name, (self._kind, switch, str(index)))

    def _is_known(self, plugin: str, path: tuple[str, ...], advice: str = "") -> bool:
        if plugin in self._known:
            return True
        if not self._document.problems:  # a file that could not be understood may well have named its folder
            why = self._catalog.broken_files.get(f"plugin_dirs.{plugin}")
            hint = (suggest(plugin, self._known) if len(self._problems) < SUGGESTED else "") or advice
            none = f"no {self._kind[:-1]} is called {found(plugin)}{hint}"
            self._reject(path, none if why is None else f"{plugin}.py cannot be loaded: {why}")
        return False

    def _instance(self, name: str, reason: str, *, by_default: bool, off: bool) -> Instance | None:
        path = (self._kind, name)
        section = self._sections.get(name, {})
        reserved = KEYS[self._kind].__struct_fields__
        if self._kind == "exporters" and "isolation" in section:
            self._reject((*path, "isolation"), NO_PROCESS)
            section = {key: value for key, value in section.items() if key != "isolation"}
        table = {key: value for key, value in section.items() if key in reserved}
        keys = to_struct(KEYS[self._kind], table, path, self._document, self._problems)
        if isinstance(keys, SinkKeys):
            for where, message in wrong(keys.events, keys.sources):
                self._reject((*path, *where), message)
        plugin = section.get("plugin", name) if keys is None or keys.plugin is None else keys.plugin
        if not isinstance(plugin, str):
            return None
        if "plugin" in section:
            known = self._is_known(plugin, (*path, "plugin"))
        else:
            known = name not in self._sections or self._is_known(
                name, path, '; a section of a name of its own says which it is by plugin = "NAME"'
            )
        if off:
            return None
        if keys is not None and not keys.enabled:
            self.disabled[f"{self._kind}.{name}"] = f"enabled = false in {self._origin(name, 'enabled')}"
            return None
        if not known or plugin not in self._known:
            return None
        type_ = self._catalog.config_type(self._kind, plugin)
        unasked = by_default and name not in self._sections
        lacking = sorted(required(type_)) if type_ is not None and unasked else []
        if lacking:  # a file that somebody put into a plugin folder must not keep the agent from starting
            self.disabled[f"{self._kind}.{name}"] = f"needs {', '.join(lacking)} in [{self._kind}.{name}]"
            return None
        self._check_interval(keys, plugin, path)
        options = {key: value for key, value in section.items() if key not in reserved}
        config = None
        if type_ is not None:
            config = to_struct(type_, options, path, self._document, self._problems, also=reserved)
            if config is None:
                return None
        return None if keys is None else Instance(self._kind, name, plugin, keys, config, reason)

    def _check_interval(self, keys: object, plugin: str, path: tuple[str, ...]) -> None:
        if isinstance(keys, ExporterKeys) and keys.interval is not None and not self._catalog.exports(plugin):
            self._reject((*path, "interval"), NO_INTERVAL)

    def _origin(self, *path: str) -> str:
        return str(self._document.origin((self._kind, *path)))

    def _reject(self, path: tuple[str, ...], message: str) -> None:
        self._problems.append(self._document.problem(path, message))


def _metrics_of_two(instances: Sequence[Instance], catalog: Catalog, document: Document) -> Iterator[Problem]:
    """Find options that name a metric which another plugin makes: a scrape would have it twice."""
    named = [(each, each.config.metric_names()) for each in instances if each.config is not None]
    if not any(names for _, names in named):
        return  # to ask each plugin for its metrics takes time
    owners: dict[str, Instance] = {}
    for instance in instances:
        owners |= dict.fromkeys(catalog.metrics(instance.kind, instance.plugin), instance)
    for instance, names in named:
        for keys, name in names.items():
            owner = owners.setdefault(name, instance)
            if owner is not instance:
                message = f"{found(name)} is a metric of {owner.kind}.{owner.name}: choose another name"
                yield document.problem((instance.kind, instance.name, *keys), message)


def _section(type_: type[S], name: str, document: Document, problems: list[Problem]) -> S:
    fields = to_fields(type_, document.values.get(name, {}), (name,), document, problems)
    try:
        return type_(**fields)
    except ValueError as error:  # options that contradict each other
        problems.append(document.problem((name,), str(error)))
        return type_()


def _place(problem: Problem, places: Mapping[str, int]) -> tuple[int, int]:
    if problem.where is None:
        return len(places), 0
    return places.get(problem.where.file, len(places)), problem.where.line or 0

"""``agentd migrate``: the settings of other exporters in agentd's words."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_origin

import click
import msgspec

from agentd.cli import common, fail
from agentd.cli.loading import load
from agentd.config import ConfigError, Document, Origin, resolve
from agentd.config.spelling import key, toml
from agentd.config.wording import arms
from agentd.options import Regex
from agentd.registry import Registry

RENAMED = {
    "diskstats.ignored-devices": "diskstats.device-exclude",
    "filesystem.ignored-fs-types": "filesystem.fs-types-exclude",
    "filesystem.ignored-mount-points": "filesystem.mount-points-exclude",
    "netdev.device-blacklist": "netdev.device-exclude",
    "netdev.device-whitelist": "netdev.device-include",
    "netclass_rtnl.with-stats": "netclass.rtnl-with-stats",
    "netdev.ignored-devices": "netdev.device-exclude",
    "powersupply.ignored-supplies": "powersupplyclass.ignored-supplies",
    "qdisk.device-exclude": "qdisc.device-exclude",
    "qdisk.device-include": "qdisc.device-include",
    "systemd.unit-blacklist": "systemd.unit-exclude",
    "systemd.unit-whitelist": "systemd.unit-include",
}
"""Flags of collectors that stand under the name of another one, or that older node_exporters have under other names."""

PATHS = {"procfs": "procfs", "sysfs": "sysfs", "rootfs": "rootfs", "udev.data": "udev_data"}
FORMATS = {"logfmt": "text", "json": "json"}
CLASSES = {"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "space": r"\s", "upper": "A-Z"}
CLASSES |= {"word": r"\w", "xdigit": "0-9A-Fa-f"}
"""Go's names for classes of characters, which Python has not."""

LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}

NO_EQUAL = {
    "runtime.gomaxprocs": "needs no equal: agentd collects in one thread",
    "web.systemd-socket": "needs no equal: sockets of systemd are taken where [web] listen names their addresses",
    "web.config.file": "agentd has no TLS and no passwords yet: keep that file for later",
    "web.disable-exporter-metrics": "what agentd says about itself can be dropped by rules in [exporters.prometheus]",
    "version": "is no setting",
    "help": "is no setting",
}
"""Flags that have no equal, and why."""

VALUED = {"web.listen-address", "web.telemetry-path", "web.max-requests", "log.level", "log.format"}
VALUED |= {f"path.{name}" for name in PATHS}
"""Flags of the program that have an equal and take a value."""

ESCAPES = {r"\\": "\\", r"\"": '"', r"\'": "'", r"\s": " ", r"\t": "\t"}
"""What a backslash and the next character are on a unit's command line; others stay as they are."""

BARE = {"web.systemd-socket", "web.disable-exporter-metrics", "version", "help", "collector.disable-defaults"}
"""Flags of the program that take no value."""


@dataclass(slots=True)
class Migrated:
    """A node_exporter's flags in agentd's words."""

    tables: dict[str, dict[str, object]] = field(default_factory=dict)
    """Tables of the configuration by their names, ``collectors.netdev`` say."""
    remarks: list[str] = field(default_factory=list)
    """What has no equal, and why."""

    def put(self, table: str, name: str, what: object) -> None:
        """Set a value; lists grow."""
        values = self.tables.setdefault(table, {})
        before = values.get(name)
        values[name] = [*before, *what] if isinstance(before, list) and isinstance(what, list) else what

    def lines(self) -> Iterator[str]:
        """Return the configuration as one writes it."""
        for table in sorted(self.tables, key=lambda name: (name.count("."), name)):
            yield f"[{'.'.join(map(key, table.split('.')))}]"
            for name, what in self.tables[table].items():
                yield f"{name} = {toml(what)}"
            yield ""
        if self.remarks:
            yield "# Without an equal:"
            yield from (f"# {remark if remark.isprintable() else ascii(remark)}" for remark in self.remarks)


class Migration:
    """Takes the words of a node_exporter's command line one by one."""

    def __init__(self, registry: Registry) -> None:
        self.result = Migrated()
        self._registry = registry
        self._enabled: list[str] = []
        self._disabled: list[str] = []
        self._only = False

    def take(self, words: Sequence[str]) -> Migrated:
        """Return what the words come to."""
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                self.result.remarks.append(f"{word}: is no flag")
                continue
            name, equals, text = word.lstrip("-").partition("=")
            negated = name.startswith("no-")
            name = name.removeprefix("no-")
            name = next((f"collector.{new}" for old, new in RENAMED.items() if name == f"collector.{old}"), name)
            lacking = not equals and not negated and self._takes_value(name)
            if lacking and rest and not rest[0].startswith("-"):
                text, lacking = rest.pop(0), False
            known = name in VALUED or self._types(*name.removeprefix("collector.").partition(".")[::2])
            remark = "lacks its value" if lacking and known else self._flag(name, text, negated=negated)
            if remark:
                self.result.remarks.append(f"{word}: {remark}")
        self._switch()
        # Prometheus goes on asking where it asks now.
        self.result.tables.setdefault("web", {}).setdefault("listen", [":9100"])
        return self.result

    def _flag(self, name: str, text: str, *, negated: bool) -> str:
        """Take a flag; return why it has no equal, or nothing."""
        put = self.result.put
        if name in NO_EQUAL:
            return NO_EQUAL[name]
        if name.startswith("path.") and name[5:] in PATHS:
            put("host", PATHS[name[5:]], text)
        elif name == "web.listen-address":
            put("web", "listen", [text])
        elif name == "web.telemetry-path":
            put("exporters.prometheus", "path", text)
        elif name == "web.max-requests":
            put("exporters.prometheus", "max_requests", int(text) if text.isdecimal() else text)
        elif name == "log.level":
            put("agent", "log_level", LEVELS.get(text, text))
        elif name == "log.format":
            put("agent", "log_format", FORMATS.get(text, text))
        elif name == "collector.disable-defaults":
            self._only = not negated
        elif name.startswith("collector."):
            return self._collector(*name.removeprefix("collector.").partition(".")[::2], text, negated=negated)
        else:
            return "is no flag that agentd knows"
        return ""

    def _collector(self, name: str, flag: str, text: str, *, negated: bool) -> str:
        if name not in self._registry.names("collectors"):
            return f"agentd has no collector {name}"
        if not flag:
            chosen = negated or text == "false"
            (self._disabled if chosen else self._enabled).append(name)
            return ""
        types = self._types(name, flag)
        option = snake(flag)
        if not types:
            return f"the collector {name} has no option {option}"
        if option.startswith("ignored_") and not text:
            return "leaves everything out in node_exporter; an empty expression leaves nothing out here"
        if bool in types and (negated or text in ("", "true", "false")):
            self.result.put(f"collectors.{name}", option, not negated and text != "false")
        elif int in types and text.isdecimal():
            self.result.put(f"collectors.{name}", option, int(text))
        else:
            several = any(get_origin(arm) in (list, tuple) for arm in types)
            text = pythonic(text) if Regex in types else text
            self.result.put(f"collectors.{name}", option, [text] if several else text)
        return ""

    def _types(self, name: str, flag: str) -> tuple[object, ...]:
        """Return what an option of a collector may be; nothing where it has no such option."""
        if name not in self._registry.names("collectors"):
            return ()
        config = self._registry.config_type("collectors", name)
        option = snake(flag)
        found = [each.type for each in msgspec.structs.fields(config) if each.name == option] if config else []
        return tuple(arms(found[0])) if found else ()

    def _takes_value(self, name: str) -> bool:
        collector, _, flag = name.removeprefix("collector.").partition(".")
        if name.startswith("collector.") and name not in BARE:
            return bool(flag) and bool not in self._types(collector, flag)
        return name not in BARE

    def _switch(self) -> None:
        """Write down which collectors run beside the defaults, and which do not: options alone would switch one on."""
        defaults = self._registry.defaults("collectors")
        off = [name for name in defaults if name not in self._enabled] if self._only else []
        on = [name for name in dict.fromkeys(self._enabled) if name not in defaults and name not in self._disabled]
        off += [name for name in dict.fromkeys(self._disabled) if name in defaults and name not in off]
        if on:
            self.result.put("collectors", "enable", on)
        if off:
            self.result.put("collectors", "disable", off)
        for table, values in self.result.tables.items():
            kind, _, name = table.partition(".")
            if kind == "collectors" and name and (name not in (*defaults, *on) or name in off):
                values["enabled"] = False


def snake(flag: str) -> str:
    """Return the option's name for a flag: ``info.flags-include`` is ``info_flags_include``, ``priorityStats`` is
    ``priority_stats``.
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", flag).replace("-", "_").replace(".", "_").lower()


def pythonic(pattern: str) -> str:
    """Return one of Go's regular expressions as Python writes it."""
    named = re.compile(r"\[:(\w+):\]")
    return named.sub(lambda found: CLASSES.get(found[1], found[0]), pattern).replace(r"\z", r"\Z")


def command_line(text: str, variables: Mapping[str, str]) -> list[str]:
    """Return the words of the flags in a unit file, in a file of variables for one, or in a plain command line.

    Of a unit that is what follows the program in ``ExecStart=``, its variables put in; of a file of variables, what
    those hold that begin with a flag.
    """
    joined = _joined(text)
    started = re.findall(r"^\s*ExecStart=[-@:+!|]*(.*)$", joined, re.MULTILINE)
    if started:
        words = []
        for word in split(started[-1], lambda pair: ESCAPES.get(pair, pair))[1:]:
            name = re.fullmatch(r"\$\{?(\w+)\}?", word)
            words += split(variables.get(name[1], "")) if name else [_expanded(word, variables)]
        return words
    if re.search(r"^\[\w+\]", joined, re.MULTILINE):
        raise ValueError("a unit without ExecStart=")
    assigned = assignments(joined)
    if assigned:
        return [word for value in assigned.values() if value.lstrip("\"' ").startswith("-") for word in split(value)]
    words = shlex.split(joined, comments=True)
    return words[1:] if words and not words[0].startswith("-") else words


def assignments(text: str) -> dict[str, str]:
    """Return the variables that a file such as /etc/default/prometheus-node-exporter sets, read as systemd does."""
    found = {}
    for name, rest in re.findall(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$", _joined(text), re.MULTILINE):
        quoted = re.fullmatch(r"""\s*(["'])(.*)\1\s*""", rest)
        value = quoted[2] if quoted else rest.strip()
        found[name] = value if quoted and quoted[1] == "'" else re.sub(r"""\\([\\"$`])""", r"\1", value)
    return found


def split(text: str, unescaped: Callable[[str], str] = lambda pair: pair[1]) -> list[str]:
    """Return words as systemd tells them apart: in quotation marks, too, a backslash takes away what the next character
    means. ``unescaped`` says what comes of the two; in a variable that is the second.
    """
    words = [""]
    quote = ""
    for part in re.findall(r"\\?.", text.strip()):
        if len(part) == 2:
            words[-1] += unescaped(part)
        elif part == quote:
            quote = ""
        elif quote:
            words[-1] += part
        elif part in "\"'":
            quote = part
        elif not part.isspace():
            words[-1] += part
        elif words[-1]:
            words.append("")
    if quote:
        raise ValueError("No closing quotation")
    return [word for word in words if word]


def _joined(text: str) -> str:
    """Return a file without its comments, and with each continued line as one."""
    return re.sub(r"^\s*[#;].*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")


def _expanded(word: str, variables: Mapping[str, str]) -> str:
    """Return a word of a unit's command line with variables in the place of their names; ``$$`` and ``%%`` are one."""
    word = word.replace("%%", "%")
    return re.sub(r"\$(?:\$|\{(\w+)\})", lambda found: variables.get(found[1], "") if found[1] else "$", word)


@click.group("migrate")
def command() -> None:
    """Turn the settings of another exporter into agentd's."""


@command.command("node-exporter", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="FILE | -- FLAGS", nargs=-1, type=click.UNPROCESSED)
@common
def node_exporter(words: tuple[str, ...], config_file: str | None, **options: object) -> None:
    """Print agentd's configuration for the flags of a node_exporter, with a comment for each that has no equal.

    FILE is its unit file, or a file such as /etc/default/prometheus-node-exporter that holds its flags.
    """
    _, registry = load(config_file, options, log_level="error")
    given = list(words)
    if len(given) == 1 and not given[0].startswith("-"):
        given = from_file(Path(given[0]))
    result = Migration(registry).take(given)
    click.echo("\n".join(result.lines()).rstrip())
    overrides = {
        (*table.split("."), name): (what, Origin("the flags"))
        for table, values in result.tables.items()
        for name, what in values.items()
    }
    try:
        resolve(Document(), registry, overrides=overrides)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        fail("the flags are not all right: see above")


def from_file(file: Path) -> list[str]:
    """Return the words of the flags in a file; files of variables that a unit names are read, too."""
    try:
        text = file.read_text()
    except (OSError, UnicodeError) as error:
        fail(f"cannot read {file}: {getattr(error, 'strerror', None) or error}")
    variables: dict[str, str] = {}
    for optional, name in re.findall(r"^\s*EnvironmentFile=(-?)(\S+)", text, re.MULTILINE):
        try:
            variables |= assignments(Path(name).read_text())
        except (OSError, UnicodeError) as error:
            if not optional or isinstance(error, UnicodeError):
                why = getattr(error, "strerror", None) or error
                click.echo(f"agentd: {name}, which {file} names, cannot be read: {why}", err=True)
    try:
        for quoted in re.findall(r"^\s*Environment=(.*)$", text, re.MULTILINE):
            variables |= dict(word.split("=", 1) for word in shlex.split(quoted) if "=" in word)
        return command_line(text, variables)
    except ValueError as error:
        fail(f"cannot understand the command line in {file}: {error}")

"""The man pages: agentd.1, one for each command, and agentd.toml.5, in the macros of groff_man(7).

They follow from the commands and from the options that plugins declare; `make docs` writes them into docs/man.
"""

import re
from collections.abc import Iterable, Iterator

import click

from agentd.cli import COMMANDS, group
from agentd.cli.config import entries
from agentd.config.describe.options import Option, options
from agentd.config.resolve import KEYS
from agentd.config.settings import SECTIONS, Switches
from agentd.registry import Registry

FILES = {
    "/etc/agentd/agentd.toml": "The configuration; see agentd.toml(5).",
    "/etc/agentd/conf.d/*.toml": "Further files, in order of name. Tables merge, and the later file wins.",
    "/var/lib/agentd": "What must survive the service: the journal of events, and small facts of plugins.",
    "/run/agentd/agentd.sock": "The socket by which the command line asks the service.",
}

ENVIRONMENT = {
    "AGENTD_LISTEN": "Addresses to listen on, separated by commas, in the place of [web] listen.",
    "STATE_DIRECTORY": "The folder for what must survive the agent; left out, $XDG_STATE_HOME/agentd.",
    "RUNTIME_DIRECTORY": "The folder of the agent's socket; left out, $XDG_RUNTIME_DIR/agentd.",
    "CREDENTIALS_DIRECTORY": 'Where { credential = "NAME" } is looked for: see systemd.exec(5).',
}

STATUS = {
    "0": "It was done, or the agent was told to stop.",
    "1": "It failed, or something that was asked about is not well.",
    "2": "No agent answers, or the command line cannot be understood.",
    "78": "The configuration has errors: agentd run does not start with it.",
}


def pages() -> dict[str, str]:
    """Return the text of each page by its path below docs/man."""
    made = {"man1/agentd.1": program(), "man5/agentd.toml.5": configuration()}
    for name in COMMANDS:
        if (command := group.get_command(click.Context(group), name)) is not None:
            made[f"man1/agentd-{name}.1"] = page(name, command)
    return made


def program() -> str:
    """Return the page of the program as a whole."""
    lines = [
        *head("agentd", 1, "gather metrics of a host and its robots, and carry events to where they belong"),
        *section("synopsis"),
        r"\fBagentd\fR [\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]",
        *section("description"),
        *prose(
            "agentd is an observability agent: one daemon on every host. It gathers what the machine and the robots "
            "around it can tell, shows it to Prometheus, and delivers events to sinks without losing one. Everything "
            "that it gathers, shows or sends is a plugin.\n\nWithout a configuration it runs the collectors of the "
            "host, and shows them on http://127.0.0.1:9797/metrics."
        ),
        *section("commands"),
        *terms({f"agentd-{name}(1)": text for name, text in COMMANDS.items()}),
        *section("options"),
        *terms({"-h, --help": "Show what there is.", "--version": "Show the version."}),
        *section("files"),
        *terms(FILES),
        *section("environment"),
        *terms(ENVIRONMENT),
        *section("exit status"),
        *terms(STATUS),
        *section("see also"),
        *prose("agentd.toml(5), systemctl(1), journalctl(1)"),
    ]
    return text(lines)


def page(name: str, command: click.Command) -> str:
    """Return the page of a command, those below it included."""
    lines = [*head(f"agentd-{name}", 1, COMMANDS[name].rstrip(".")), *section("synopsis"), *synopsis(command, name)]
    lines += [*section("description"), *prose(command.help or "")]
    if shown := dict(described(command)):
        lines += [*section("options"), *terms(shown)]
    if isinstance(command, click.Group):
        lines += section("commands")
        for inner_name in sorted(command.commands):
            inner = command.commands[inner_name]
            lines += [f".SS {quoted(f'{name} {inner_name}')}", *synopsis(inner, f"{name} {inner_name}"), ".PP"]
            lines += [*prose(inner.help or ""), *terms(dict(described(inner)))]
    lines += [*section("see also"), *prose("agentd(1), agentd.toml(5)")]
    return text(lines)


def configuration() -> str:
    """Return the page of the configuration."""
    lines = [
        *head("agentd.toml", 5, "the configuration of agentd"),
        *section("description"),
        *prose(
            "TOML, read from /etc/agentd/agentd.toml, then from conf.d/*.toml beside it in order of name: tables "
            "merge, and the later file wins; lists enable and disable unite, others are replaced. All of it is "
            "optional. A section of a plugin switches the plugin on, unless it says enabled = false.\n\n"
            'In the place of any value but a table may stand { env = "NAME" }, what an environment variable holds, '
            '{ file = "PATH" }, what a file holds, or { credential = "NAME" }, what systemd keeps for the service by '
            'LoadCredential=. Durations and sizes are texts with their units, "15s" and "64MiB".\n\n'
            "agentd check tells every error at once, with its line and what would be right."
        ),
        *section("the agent"),
    ]
    for name, type_ in SECTIONS.items():
        lines += [f".SS {quoted(f'[{name}]')}", *prose(type_.__doc__ or ""), *listed(options(type_))]
    registry = Registry()
    known = list(entries(registry))
    for kind, keys in KEYS.items():
        lines += [*section(kind), f".SS {quoted(f'[{kind}]')}", *listed(options(Switches))]
        lines += [f".SS {quoted(f'[{kind}.NAME]')}", *prose(f"Keys that all {kind} know."), *listed(options(keys))]
        for each, name, doc, type_ in known:
            if each == kind:
                lines += [f".SS {quoted(f'[{kind}.{name}]')}", *prose(doc), *listed(options(type_))]
    lines += [*section("see also"), *prose("agentd(1), agentd-check(1), agentd-config(1)")]
    return text(lines)


def listed(described_options: Iterable[Option]) -> Iterator[str]:
    """Yield options of the configuration with their types and defaults."""
    for option in described_options:
        default = "required" if option.required else f"by default {option.default}" if option.default else "not set"
        yield from (".TP", rf"\fB{escaped(option.name)}\fR ({escaped(option.type)}; {escaped(default)})")
        first, *others = paragraphs(option.doc) or [""]
        yield line(first)
        for paragraph in others:
            yield from (".IP", line(paragraph))


def described(command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield the options of a command as they are typed, each with what it means."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            typed = ", ".join((*parameter.opts, *parameter.secondary_opts))
            if not parameter.is_flag:
                typed += f" {metavar(parameter)}"
            default = f" By default {parameter.default}." if parameter.show_default is True else ""
            yield typed, (parameter.help or "") + default


def metavar(parameter: click.Parameter) -> str:
    """Return what stands for a value."""
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(map(str, parameter.type.choices))
    return (parameter.name or "").upper() if isinstance(parameter, click.Argument) else parameter.type.name.upper()


def synopsis(command: click.Command, name: str) -> Iterator[str]:
    """Yield how a command is called."""
    words = [rf"\fBagentd {escaped(name)}\fR", r"[\fIoptions\fR]"]
    if isinstance(command, click.Group):
        words.append(r"[\fIcommand\fR]" if command.invoke_without_command else r"\fIcommand\fR")
        if (command.subcommand_metavar or "").startswith("[NAME"):
            words[-1] = r"[\fINAME\fR | \fIcommand\fR]"
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            shown = rf"\fI{escaped(metavar(parameter))}\fR"
            shown += "..." if parameter.nargs == -1 and not metavar(parameter).endswith("...") else ""
            words.append(shown if parameter.required or parameter.metavar else f"[{shown}]")
    yield " ".join(words)


def head(name: str, number: int, summary: str) -> Iterator[str]:
    """Yield what a page begins with."""
    yield r".\" Made by docs/manual.py (make docs); do not edit."
    yield f'.TH {quoted(name.upper())} {number} "" "agentd"'
    yield ".ad l"
    yield ".SH NAME"
    yield rf"{escaped(name)} \- {escaped(summary[0].lower() + summary[1:])}"


def section(title: str) -> list[str]:
    """Return the heading of a section."""
    return [f".SH {quoted(title.upper())}"]


def terms(meanings: dict[str, str]) -> Iterator[str]:
    """Yield a list of terms with what they mean."""
    for term, meaning in meanings.items():
        yield from (".TP", rf"\fB{escaped(term)}\fR", line(meaning))


def prose(words: str) -> Iterator[str]:
    """Yield paragraphs."""
    for number, paragraph in enumerate(paragraphs(words)):
        yield from (*([".PP"] if number else []), line(paragraph))


def paragraphs(words: str) -> list[str]:
    """Return paragraphs, each on one line, without the marks of docstrings."""
    plain = words.replace("\b", "").replace("``", "")
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", plain) if each.strip()]


def line(words: str) -> str:
    """Return a line of text that no macro is read from."""
    made = escaped(" ".join(words.replace("``", "").split()))
    return rf"\&{made}" if made.startswith((".", "'")) else made


def quoted(words: str) -> str:
    """Return the argument of a macro."""
    return '"' + escaped(words).replace('"', r"\(dq") + '"'


def escaped(words: str) -> str:
    """Return text in which nothing is read as more than itself, and a hyphen can be copied."""
    return words.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")


def text(lines: Iterable[str]) -> str:
    """Return a page."""
    return "\n".join(lines) + "\n"

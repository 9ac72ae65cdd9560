"""Which processes belong to which group: rules on their names, command lines and users."""

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentd.plugin import Config, Regex

PLACE = re.compile(r"\{(\w+)\}")


class GroupRule(Config, frozen=True):
    """A rule that puts processes into groups. All conditions that it has must be met; of several rules the first."""

    name: str = "{exe}"
    """Name of the group. Replaced are ``{comm}`` (the name that the kernel knows, at most 15 characters), ``{exe}``
    (the program as it was called, without its folder), ``{exe_path}`` (with it), ``{user}``, ``{pid}``, and the named
    groups of ``cmdline``: ``{NAME}`` for ``(?P<NAME>…)``. Each name that comes out is a group of its own."""
    comm: tuple[str, ...] = ()
    """Names that the kernel knows, of which the process has one."""
    exe: tuple[str, ...] = ()
    """Programs, of which the process runs one: with a slash the whole path as it was called, without one its end."""
    cmdline: tuple[Regex, ...] = ()
    """Expressions that are all found in the command line, its arguments joined by blanks."""
    user: tuple[str, ...] = ()
    """Users, by name or number, of which one is the process's effective user."""

    def __post_init__(self) -> None:
        if not (self.comm or self.exe or self.cmdline or self.user):
            raise ValueError('a group needs a condition: comm, exe, cmdline or user; for all processes: cmdline = [""]')
        captured = {name for expression in self.cmdline for name in re.compile(expression.pattern).groupindex}
        known = {"comm", "exe", "exe_path", "user", "pid"} | captured
        for place in PLACE.findall(self.name):
            if place not in known:
                raise ValueError(f"name: there is no {{{place}}}; there are: {', '.join(sorted(known))}")

    @property
    def needs_user(self) -> bool:
        """Whether it matters who the user is: asking for names can be slow."""
        return bool(self.user) or "{user}" in self.name


@dataclass(frozen=True, slots=True)
class Traits:
    """By what a process is put into a group."""

    pid: int
    comm: str
    command_line: Sequence[str] = ()
    user: str = ""
    user_id: int | None = None

    @property
    def exe_path(self) -> str:
        """The program as it was called; threads of the kernel have none, and are called by their names."""
        return self.command_line[0] if self.command_line else self.comm


def group_of(traits: Traits, rules: Sequence[GroupRule]) -> str | None:
    """Return the name of the group that a process belongs to by the first rule that it meets."""
    for rule in rules:
        captured = _met(rule, traits)
        if captured is not None:
            path = traits.exe_path
            values = {
                "comm": traits.comm,
                "exe": os.path.basename(path),  # noqa: PTH119  # any text may stand there
                "exe_path": path,
                "user": traits.user,
                "pid": str(traits.pid),
                **captured,
            }
            return PLACE.sub(lambda place, values=values: values[place[1]] or "", rule.name)  # type: ignore[misc]
    return None


def _met(rule: GroupRule, traits: Traits) -> Mapping[str, str] | None:
    if rule.comm and traits.comm not in rule.comm:
        return None
    if rule.exe and not (traits.command_line and _runs(rule.exe, traits.exe_path)):
        return None
    if rule.user and traits.user not in rule.user and str(traits.user_id) not in rule.user:
        return None
    captured: dict[str, str] = {}
    line = " ".join(traits.command_line)
    for expression in rule.cmdline:
        match = expression.search(line)
        if match is None:
            return None
        captured |= match.groupdict()
    return captured


def _runs(programs: Sequence[str], path: str) -> bool:
    return path in programs or path.rpartition("/")[2] in programs


@dataclass(slots=True)
class Users:
    """Names of users, each asked for once: the answer may come from a directory in the network."""

    KEPT = 10_000
    _names: dict[int, str] = field(default_factory=dict)

    def name(self, identity: int | None) -> str:
        """Return the name of a user, or the number where there is no name."""
        if identity is None:
            return ""
        if identity not in self._names:
            if len(self._names) >= self.KEPT:
                self._names.clear()
            try:
                self._names[identity] = pwd.getpwuid(identity).pw_name
            except (KeyError, OverflowError):
                self._names[identity] = str(identity)
        return self._names[identity]

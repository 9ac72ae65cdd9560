"""Facts -> findings. Each check looks at one thing, and says what to do where it is not as it should be."""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from agentd.cli.doctor.facts import Facts, File, Owned, User
from agentd.status import wrong

Level = Literal["ok", "warn", "bad"]

READ, WRITE, SEARCH = 4, 2, 1
"""Bits of a mode."""

DAC_OVERRIDE, DAC_READ_SEARCH, NET_BIND_SERVICE = 1 << 1, 1 << 2, 1 << 10
"""Bits of capabilities(7)."""

LEAST_FREE = 16 << 20
"""Bytes of the disk below which the journal soon cannot be written."""

DESCRIPTORS = (1024, 4096)
"""Files and sockets that the agent may have open: below the first it is too few, below the second not many."""


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and what to do."""

    check: str
    level: Level
    text: str
    advice: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Return what every check finds."""
    return [finding for check in CHECKS for finding in check(facts)]


def may(user: User, owned: Owned, bit: int) -> bool:
    """Say whether a user may read, write or enter something, by its mode: access control lists are not looked at."""
    if user.uid == 0 or user.capabilities & DAC_OVERRIDE:
        return True
    if user.capabilities & DAC_READ_SEARCH and bit != WRITE:
        return True
    if owned.uid == user.uid:
        return bool(owned.mode >> 6 & bit)
    return bool((owned.mode >> 3 if owned.gid in user.groups else owned.mode) & bit)


def running(facts: Facts) -> Iterator[Finding]:
    """See whether an agent answers, and how it is."""
    status = facts.status
    if status is None:
        yield Finding("agent", "warn", facts.unreachable, "start it, or look with the rights of its user, or as root")
        return
    bad = wrong(status)
    if bad:
        yield Finding("agent", "bad", ", ".join(bad), "agentd status shows which and why")
    else:
        yield Finding("agent", "ok", f"process {status.pid} answers, and all is well")
    if status.version != facts.version:
        text = f"the agent that runs is {status.version}, what is installed is {facts.version}"
        yield Finding("version", "warn", text, "start the agent again")


def configuration(facts: Facts) -> Iterator[Finding]:
    """See whether the configuration can be used."""
    for problem in facts.problems:
        yield Finding("configuration", "bad", problem, "mend it; agentd check says when all is right")
    for name, why in facts.broken.items():
        yield Finding("plugins", "bad", f"{name} cannot be loaded: {why}", "mend or disable it")
    if facts.tokens_problem:
        yield Finding("tokens", "bad", facts.tokens_problem, "mend it; the tokens before still count until then")
    if not facts.problems and not facts.broken:
        yield Finding("configuration", "ok", "it checks, and every plugin can be loaded")


def readable(facts: Facts) -> Iterator[Finding]:
    """See whether the agent may read the files that it needs, and nobody else those that are confidential."""
    well = 0
    for file in facts.files:
        found = list(_wrong_with(file, facts.user))
        well += not found
        yield from found
    if well:
        yield Finding("files", "ok", f"{well} of {len(facts.files)} files can be read by {_named(facts.user)}")
    by_path = {file.path: file for file in facts.files}
    for key, path in facts.plain_secrets.items():
        owned = by_path[path].owned if path in by_path else None
        if owned is not None and owned.mode & READ:
            advice = f'chmod o= {path}, or put it into a file of its own: {{ file = "PATH" }}'
            yield Finding("secrets", "bad", f"{key} stands in {path}, which everybody may read", advice)


def _wrong_with(file: File, user: User) -> Iterator[Finding]:
    if file.error:
        yield Finding("files", "bad", f"{file.what}: {file.error}", "put it there, or correct the path")
        return
    for folder in file.folders:
        if not may(user, folder, SEARCH):
            text = f"{file.what}: {_named(user)} may not enter {folder.path}, so it cannot read {file.path}"
            yield Finding("files", "bad", text, f"chmod or chgrp {folder.path} so that it may")
            return
    owned = file.owned
    if owned is None:
        return
    if not may(user, owned, READ):
        advice = f"chgrp it to the group of {_named(user)} and chmod g+r {file.path}"
        yield Finding("files", "bad", f"{file.what}: {_named(user)} may not read {file.path}", advice)
    if file.confidential and owned.mode & (READ | WRITE):
        text = f"{file.what}: everybody may read {file.path} (mode {owned.mode & 0o777:04o})"
        yield Finding("files", "warn", text, f"chmod o= {file.path}")


def state(facts: Facts) -> Iterator[Finding]:
    """See whether the state directory is there, the agent's, and nobody else's."""
    folder = facts.state
    if folder.owned is None:
        why = folder.error or "it is not there"
        yield Finding("state directory", "warn", f"{folder.path}: {why}", "the agent makes it when it starts")
        return
    user, owned, bad = facts.user, folder.owned, False
    if not (may(user, owned, WRITE) and may(user, owned, SEARCH)):
        bad = True
        text = f"{_named(user)} may not write to {folder.path}"
        yield Finding("state directory", "bad", text, f"chown {user.name or user.uid} {folder.path}")
    if owned.mode & (READ | WRITE):
        bad = True
        text = f"everybody may look into {folder.path}, where events are kept (mode {owned.mode & 0o777:04o})"
        yield Finding("state directory", "warn", text, f"chmod o= {folder.path}")
    kept = facts.kept.owned
    if kept is not None and kept.mode & 0o077:
        bad = True
        text = f"others may read {kept.path}, which may hold passwords (mode {kept.mode & 0o777:04o})"
        yield Finding("state directory", "bad", text, f"chmod 0600 {kept.path}")
    if not bad:
        yield Finding("state directory", "ok", f"{folder.path} belongs to {_named(user)} alone")


def socket(facts: Facts) -> Iterator[Finding]:
    """See whether the socket of the command line is as it should be."""
    file = facts.socket
    if file.owned is not None and file.owned.mode & WRITE:
        text = f"everybody may steer the agent over {file.path} (mode {file.owned.mode & 0o777:04o})"
        yield Finding("socket", "bad", text, f"chmod 0660 {file.path}")
    elif facts.status is not None:
        yield Finding("socket", "ok", f"{file.path} answers")
    elif file.owned is not None:
        yield Finding("socket", "warn", f"{file.path} is there, but nobody answers", "the next start takes its place")


def clock(facts: Facts) -> Iterator[Finding]:
    """See whether the clock is right."""
    if facts.synchronised:
        yield Finding("clock", "ok", "it is synchronised")
    elif facts.synchronised is None:
        text = "whether it is synchronised cannot be found out here"
        yield Finding(
            "clock", "warn", text, "timedatectl tells; with the unit, the drop-in clock.conf lets the agent ask"
        )
    else:
        text = "it is not synchronised: events carry a time that may be wrong, and none is dropped for its age"
        yield Finding("clock", "warn", text, "enable systemd-timesyncd or chrony: timedatectl set-ntp true")


def disk(facts: Facts) -> Iterator[Finding]:
    """See whether there is room for the journal."""
    found = facts.disk
    if found is None:
        return
    where = facts.state.path
    needed = max(0, found.largest - found.journal)
    if found.read_only:
        yield Finding("disk", "bad", f"the file system of {where} is mounted read-only", "look after it: dmesg, mount")
    elif found.no_files_left:
        yield Finding(
            "disk", "bad", f"no further file can be made on that of {where}", "remove files: df -i shows where"
        )
    elif found.free < min(LEAST_FREE, needed):
        text = f"{_size(found.free)} are free for {where}: events soon cannot be written down"
        yield Finding("disk", "bad", text, "make room, or set [journal] max_size")
    elif found.free < needed:
        text = f"{_size(found.free)} are free, and the journal may grow by {_size(needed)}"
        yield Finding("disk", "warn", text, "make room, or set [journal] max_size to less")
    else:
        text = f"{_size(found.free)} are free; the journal has {_size(found.journal)} of at most {_size(found.largest)}"
        yield Finding("disk", "ok", text)


def ports(facts: Facts) -> Iterator[Finding]:
    """See whether the agent listens where it is to, or could."""
    bind = facts.user.uid == 0 or facts.user.capabilities & NET_BIND_SERVICE
    for address in facts.addresses:
        if address.held:
            yield Finding("ports", "ok", f"{address.text}: the agent listens")
        elif address.error:
            yield Finding(
                "ports", "bad", f"{address.text}: {address.error}", "ss -ltnp shows who has it; or [web] listen"
            )
        elif 0 < address.port < facts.unprivileged_from and not bind:
            text = f"{address.text}: {_named(facts.user)} may not listen below {facts.unprivileged_from}"
            yield Finding("ports", "bad", text, "choose a higher port in [web] listen")
        elif facts.status is not None:
            text = f"{address.text} is configured, but the agent does not listen there"
            yield Finding("ports", "warn", text, "agentd reload; what it says takes effect later needs a start")
        else:
            yield Finding("ports", "ok", f"{address.text} is free")


def versions(facts: Facts) -> Iterator[Finding]:
    """See whether the libraries are there that the agent and its enabled plugins need."""
    bad = False
    for library in facts.libraries:
        who = ", ".join(library.plugins) or "agentd itself"
        advice = f"pip install 'agentd[{library.extra}]'" if library.extra else "install agentd again"
        if library.version is None:
            bad = True
            yield Finding("versions", "bad", f"{library.name}, which {who} needs, is not installed", advice)
        elif older(library.version, library.least):
            bad = True
            text = f"{library.name} is {library.version}; {who} needs {library.least} or newer"
            yield Finding("versions", "warn", text, advice)
    if not bad:
        yield Finding(
            "versions", "ok", f"agentd {facts.version}, Python {facts.python}, {len(facts.libraries)} libraries"
        )


def older(version: str, least: str) -> bool:
    """Say whether a version is older than another, by the numbers at its beginning."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> list[int]:
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return numbers


def privileges(facts: Facts) -> Iterator[Finding]:
    """See which collectors lack a right. The running agent knows; without one they are tried once."""
    advice = "docs/operations.md names the drop-in that grants it; or disable the collector"
    if facts.status is None:
        yield from _tried(facts, advice)
        return
    refused = [plugin for plugin in facts.status.plugins if plugin.refused]
    for plugin in refused:
        yield Finding("privileges", "warn", f"{plugin.plugin} tells nothing: {plugin.error}", advice)
    if not refused:
        yield Finding("privileges", "ok", "every collector may ask for what it tells")


def _tried(facts: Facts, advice: str) -> Iterator[Finding]:
    trial, user = facts.trial, _named(facts.user)
    if trial is None:
        return
    if trial.error:
        text = f"whether {user} has those that collectors need cannot be found out: {trial.error}"
        yield Finding("privileges", "warn", text, "start the agent, and ask again")
        return
    for key, why in trial.refused.items():
        yield Finding("privileges", "warn", f"{key} tells nothing to {user} without a drop-in: {why}", advice)
    for key, why in trial.failed.items():
        name = key.partition(".")[2]
        yield Finding("collectors", "warn", f"{key} fails as {user}: {why}", f"agentd collect {name} tries it alone")
    text = f"of {trial.tried} collectors that were tried as {user}, {len(trial.refused)} may not ask for what they tell"
    if trial.left_out:
        text += f"; not tried: {' '.join(trial.left_out)}"
    text += ". What the unit forbids beyond that, and what its drop-ins allow, only a running agent can tell"
    yield Finding("privileges", "ok", text)


def limits(facts: Facts) -> Iterator[Finding]:
    """See whether the agent may have enough files and sockets open."""
    few, many = DESCRIPTORS
    used, most = facts.open_descriptors, facts.descriptors
    text = f"{most} files and sockets may be open" + ("" if used is None else f", {used} are")
    advice = "LimitNOFILE=65536 in the unit, or ulimit -n"
    if most < few or (used is not None and used > 0.8 * most):
        yield Finding("limits", "bad", text, advice)
    elif most < many:
        yield Finding("limits", "warn", f"{text}: few for many robots", advice)
    else:
        yield Finding("limits", "ok", text)


def _named(user: User) -> str:
    return f"user {user.name or user.uid}"


def _size(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    running,
    configuration,
    readable,
    state,
    socket,
    clock,
    disk,
    ports,
    versions,
    privileges,
    limits,
)
"""All of them, in the order in which their findings are shown."""

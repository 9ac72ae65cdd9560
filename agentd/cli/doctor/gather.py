"""Finds out what ``agentd doctor`` has to know: the only part of it that looks at the machine."""

import contextlib
import errno
import os
import platform
import pwd
import re
import resource
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from agentd import __version__, directories, timesync
from agentd.cli.doctor.facts import Address, Disk, Facts, File, Library, Owned, User
from agentd.cli.doctor.trial import trial
from agentd.config import ConfigError, Document, Settings, parse_address, read_tokens
from agentd.config.describe.secrets import secrets
from agentd.config.source import reference
from agentd.registry import PluginError, Registry
from agentd.status import Status
from agentd.store.retention import default_size

SERVICE = "agentd"
"""The user of the unit."""

CONFIDENTIAL = ("key_file", "credentials_file", "tokens_file")
"""Options that name files which others must not read."""


def gather(
    document: Document, settings: Settings | None, problems: tuple[str, ...], registry: Registry, status: Status | str
) -> Facts:
    """Return all facts. ``status`` is what the agent says, or why none answers; ``settings`` are what the document
    comes to, None where there are ``problems``.
    """
    running = status if isinstance(status, Status) else None
    user = of_process(running.pid) if running is not None else None
    if user is None:
        user = of_service()
    folder = state_directory(running)
    files = [_file("configuration", str(file)) for file in document.files]
    files += _references(document.values, (), document)
    files += _named_files(settings) if settings is not None else ()
    tokens = settings.web.tokens_file if settings is not None else None
    return Facts(
        version=__version__,
        python=platform.python_version(),
        status=running,
        unreachable=status if isinstance(status, str) else "",
        trial=trial(settings, registry, user) if running is None and settings is not None else None,
        user=user,
        problems=problems,
        broken=_broken(settings, registry),
        tokens_problem=_tokens_problem(tokens),
        files=tuple(files),
        plain_secrets=_plain_secrets(settings) if settings is not None else {},
        state=_file("state directory", str(folder)),
        kept=_file("kept configuration", str(folder / directories.configuration_file().name)),
        socket=_file(
            "socket", str(next(filter(Path.exists, directories.socket_candidates()), directories.socket_path()))
        ),
        synchronised=timesync.synchronised(),
        disk=_disk(folder, settings),
        addresses=tuple(_addresses(settings, running)),
        unprivileged_from=_number(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start"), 1024),
        libraries=tuple(_libraries(settings, registry)),
        descriptors=_descriptors(running),
        open_descriptors=_open_descriptors(running),
    )


def state_directory(status: Status | None) -> Path:
    """Return that of the running agent, else of this environment or, where it has none, of the service."""
    if status is not None:
        return Path(status.state_directory)
    own, service = directories.state_directory(), Path("/var/lib/agentd")
    return service if not own.exists() and service.exists() else own


def of_process(pid: int) -> User | None:
    """Return whom a process runs as; None where nobody knows."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return None
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    uid, group = int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1])
    groups = frozenset((group, *map(int, lines.get("Groups", "").split())))
    return User(uid, groups, _name(uid), int(lines.get("CapEff", "0"), 16))


def of_service() -> User:
    """Return the user of the unit where there is one and root asks, else who asks."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(SERVICE)
            return User(entry.pw_uid, frozenset(os.getgrouplist(SERVICE, entry.pw_gid)), SERVICE)
    uid = os.geteuid()
    return User(uid, frozenset((os.getegid(), *os.getgroups())), _name(uid))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _file(what: str, path: str, *, confidential: bool = False) -> File:
    folders = []
    try:
        for folder in reversed(Path(os.path.abspath(path)).parents):
            folders.append(_owned(str(folder)))  # noqa: PERF401  # those before the one that fails are facts, too
        return File(what, path, confidential, _owned(path), tuple(folders))
    except OSError as error:
        why = f"{path}: {(error.strerror or str(error)).lower()}"
        return File(what, path, confidential, None, tuple(folders), why)


def _owned(path: str) -> Owned:
    status = os.stat(path)
    return Owned(path, status.st_mode & 0o7777, status.st_uid, status.st_gid)


def _references(value: Any, path: tuple[str, ...], document: Document) -> Iterator[File]:
    """Yield the files that ``{ file = "PATH" }`` names."""
    found = reference(value)
    if found is not None and found[0] == "file":
        origin = document.origin(path)
        name = Path(origin.file if origin else "").parent / found[1]
        yield _file(".".join(path), str(name), confidential=True)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _references(item, (*path, str(key)), document)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, (*path, str(index)), document)


def _named_files(settings: Settings) -> Iterator[File]:
    """Yield the files that options name whose own names end in ``_file``."""
    structs: list[tuple[str, msgspec.Struct | None]] = [("web", settings.web)]
    structs += [(one.key, one.config) for one in settings.instances]
    while structs:
        key, struct = structs.pop(0)
        for name in () if struct is None else struct.__struct_fields__:
            value = getattr(struct, name)
            if name.endswith("_file") and isinstance(value, str):
                yield _file(f"{key}.{name}", value, confidential=name in CONFIDENTIAL)
            elif isinstance(value, msgspec.Struct):
                structs.append((f"{key}.{name}", value))


def _plain_secrets(settings: Settings) -> dict[str, str]:
    found = {}
    for path, _ in secrets(settings):
        value: Any = settings.document.values
        for part in path:
            value = (
                value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, Mapping) else None
            )
        origin = settings.document.origin(path)
        if isinstance(value, str) and origin is not None:
            found[".".join(path)] = origin.file
    return found


def _broken(settings: Settings | None, registry: Registry) -> dict[str, str]:
    broken = dict(registry.broken_files)
    for instance in settings.instances if settings is not None else ():
        try:
            registry.plugin_class(instance.kind, instance.plugin)
        except PluginError as error:
            broken[instance.key] = str(error)
    return broken


def _tokens_problem(path: str | None) -> str:
    try:
        if path is not None:
            read_tokens(Path(path))
    except ConfigError as error:
        return "; ".join(map(str, error.problems))
    return ""


def _disk(folder: Path, settings: Settings | None) -> Disk | None:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        status = os.statvfs(there)
        configured = settings.journal.max_size if settings is not None else None
        journal = sum(file.stat().st_size for file in folder.glob("journal.db*"))
        return Disk(
            free=status.f_bavail * status.f_frsize,
            journal=journal,
            largest=default_size(there) if configured is None else int(configured),
            read_only=bool(status.f_flag & os.ST_RDONLY),
            no_files_left=status.f_files > 0 and status.f_favail == 0,
        )
    except OSError:
        return None


def _addresses(settings: Settings | None, status: Status | None) -> Iterator[Address]:
    held = {parse_address(text)[1] for text in status.listen} if status is not None else set()
    for listener in settings.web.listeners() if settings is not None else ():
        text = listener.address
        host, port = parse_address(text)
        if port in held or (port == 0 and held):
            yield Address(text, port, held=True)
        else:
            yield Address(text, port, error=_taken(host, port))


def _taken(host: str, port: int) -> str:
    """Return why nobody could listen there; empty where somebody could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program has this port"
        if error.errno == errno.EACCES:  # what the agent's user may is another check's
            return ""
        return (error.strerror or str(error)).lower()
    return ""


def _libraries(settings: Settings | None, registry: Registry) -> Iterator[Library]:
    """Yield what agentd itself and the enabled plugins need, as the metadata of the package say."""
    from importlib import metadata

    needed: dict[str, list[str]] = {}
    for instance in settings.instances if settings is not None else ():
        cls = registry.code(instance.kind, instance.plugin)
        if extra := getattr(cls, "extra", ""):
            needed.setdefault(extra, []).append(instance.key)
    try:
        wanted = metadata.requires("agentd") or ()
    except metadata.PackageNotFoundError:  # it runs from its sources
        return
    for line in wanted:
        requirement, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([\w.]+))?", requirement.strip())
        belongs = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        if match is None or (marker and belongs is None) or (belongs and belongs[1] not in needed):
            continue  # what only some machines need is imported where it is there
        extra = belongs[1] if belongs else ""
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            version = None
        yield Library(match[1], match[2] or "", version, extra, tuple(needed.get(extra, ())))


def _descriptors(status: Status | None) -> int:
    if status is not None:
        with contextlib.suppress(OSError, StopIteration, ValueError):
            lines = Path(f"/proc/{status.pid}/limits").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("Max open files")).split()[3])
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _open_descriptors(status: Status | None) -> int | None:
    with contextlib.suppress(OSError):
        return None if status is None else len(os.listdir(f"/proc/{status.pid}/fd"))
    return None


def _number(file: Path, otherwise: int) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return otherwise

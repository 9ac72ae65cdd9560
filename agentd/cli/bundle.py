"""``agentd bundle``."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from agentd import __version__
from agentd.cli import common, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agentd.config import Document, Settings
    from agentd.registry import Registry
    from agentd.status import Status

LARGEST = 4 << 20
"""Bytes of a part at most; what is beyond is cut off, and said."""

LOG_LINES = 2000
"""Lines of the service's log, the last ones."""

UNIT = "agentd"
"""The service whose log is taken."""

ADVICE = """What agentd is, how it is, and what it says: made by `agentd bundle` to find out what is wrong.

Secrets of the configuration are left out everywhere. Names of this host, its devices, addresses, users and mounts, and
of robots, are not: look through it before you give it away. Of events there are numbers, and the last errors.
"""


class Part(NamedTuple):
    """A file of the bundle."""

    name: str
    what: str
    make: Callable[[], str]


class Here(NamedTuple):
    """What the parts are made of."""

    config_file: str | None
    options: Mapping[str, object]
    document: Document
    settings: Settings | None
    """None where the configuration has errors: ``problems`` says which."""
    registry: Registry | None
    problems: str
    status: Status | None
    """None where no agent answers: ``unreachable`` says why."""
    unreachable: str


@click.command("bundle")
@click.argument("file", metavar="[FILE.tar.gz]", required=False, type=click.Path())
@common
def command(file: str | None, config_file: str | None, **options: object) -> None:
    """Pack the effective configuration without secrets, the status, what the doctor finds, metrics, the last lines of
    the log, numbers of the journal and versions into FILE, for somebody who is to find out what is wrong.

    Only its owner may read it. Works without a running agent as well.
    """
    host = platform.node().partition(".")[0]
    path = Path(file or f"agentd-bundle-{host}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    here = look(config_file, options)
    packed = [(part, cut(made(part, here))) for part in parts(here)]
    listed = "".join(f"{part.name:20} {len(data):9} bytes  {part.what}\n" for part, data in packed)
    members = [("CONTENTS.txt", f"{ADVICE}\n{listed}".encode()), *((part.name, data) for part, data in packed)]
    try:
        write(path, members)
    except FileExistsError:
        fail(f"{path} is there already: name another file")
    except OSError as error:
        fail(f"cannot write {path}: {(error.strerror or str(error)).lower()}")
    click.echo(f"{path}, {path.stat().st_size} bytes, for its owner alone to read\n\n{ADVICE}\n{listed}", nl=False)


def look(config_file: str | None, options: Mapping[str, object]) -> Here:
    """Return what is configured and what runs."""
    from agentd.cli.client import NoAgentError, RefusedError
    from agentd.cli.loading import of_agent, overriding, use
    from agentd.cli.status import current
    from agentd.config import ConfigError, find, read

    status, unreachable, settings, registry, problems = None, "", None, None, ""
    try:
        status = current()
    except (NoAgentError, RefusedError) as error:
        unreachable = error.message
    document = read(find(of_agent(config_file, status)))
    try:
        settings, registry = use(document, overriding(options), "error")
    except ConfigError as error:
        problems = str(error)
    return Here(config_file, options, document, settings, registry, problems, status, unreachable)


def parts(here: Here) -> list[Part]:
    """Return what is packed."""
    return [
        Part("configuration.toml", "the effective settings, each with its origin", lambda: _configuration(here)),
        Part("status.txt", "how the running agent is", lambda: _status(here)),
        Part("status.json", "the same, for programs", lambda: _status_json(here)),
        Part("doctor.txt", "what agentd doctor finds", lambda: _doctor(here)),
        Part("metrics.txt", "what Prometheus would see now", lambda: _metrics(here)),
        Part("log.txt", f"the last {LOG_LINES} lines of the service's log", _log),
        Part("store.json", "the journal in numbers: rows, sizes, cursors, dead letters", lambda: _store(here)),
        Part("versions.txt", "agentd, Python, libraries, kernel, system", lambda: "\n".join(_versions()) + "\n"),
    ]


def made(part: Part, here: Here) -> str:
    """Return a part's text without secrets; of one that cannot be made, why."""
    from agentd.config.describe.secrets import hiding
    from agentd.config.spelling import without_passwords
    from agentd.errors import described

    try:
        text = part.make()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever fails, the rest is worth having
        text = f"this could not be had: {described(error)}\n"
    return hiding(here.settings)(text) if here.settings is not None else without_passwords(text)


def cut(text: str) -> bytes:
    """Return a text's bytes, not more than a part may have."""
    data = text.encode("utf-8", "replace")
    if len(data) <= LARGEST:
        return data
    note = f"\n[cut off: {len(data) - LARGEST} more bytes]\n".encode()
    return data[:LARGEST].decode("utf-8", "ignore").encode() + note


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    """Write an archive that only its owner may read. Raises ``FileExistsError`` where something has this name."""
    folder = path.name.removesuffix(".gz").removesuffix(".tar")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members:
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(data))


def _configuration(here: Here) -> str:
    from agentd.config.describe import show

    if here.settings is None:
        return f"# The configuration has errors:\n# {here.problems.replace(chr(10), f'{chr(10)}# ')}\n"
    return show(here.settings)


def _status(here: Here) -> str:
    from agentd.cli.status import screen

    if here.status is None:
        return f"{here.unreachable}\n"
    return "\n".join(screen(here.status, everything=True)) + "\n"


def _status_json(here: Here) -> str:
    import msgspec

    return json.dumps(msgspec.to_builtins(here.status), indent=2) + "\n"


def _doctor(here: Here) -> str:
    from agentd.cli.doctor import found, lines

    return "\n".join(lines(found(here.config_file, here.options))) + "\n"


def _metrics(here: Here) -> str:
    from agentd.cli.client import ask
    from agentd.cli.explain import scraped

    if here.status is None:
        return f"{here.unreachable}\n"
    return ask(scraped(here.settings) if here.settings is not None else "/metrics").decode("utf-8", "replace")


def _log() -> str:
    program = shutil.which("journalctl")
    if program is None:
        return "journalctl is not there: look where standard error of the agent goes\n"
    arguments = ("--unit", UNIT, "--lines", str(LOG_LINES), "--no-pager", "--output", "short-iso", "--quiet")
    # A program of the system, and nothing that anybody else has said.
    result = subprocess.run([program, *arguments], capture_output=True, check=False, timeout=20)  # noqa: S603  # see above
    said = (result.stdout or result.stderr).decode("utf-8", "replace")
    return said or f"the journal of the system has nothing of the unit {UNIT}\n"


def _store(here: Here) -> str:
    from agentd.cli.doctor.gather import state_directory
    from agentd.store.statistics import statistics

    return json.dumps(statistics(state_directory(here.status) / "journal.db"), indent=2) + "\n"


def _versions() -> Iterator[str]:
    from importlib import metadata

    yield f"agentd {__version__}"
    yield f"Python {platform.python_version()} ({platform.python_implementation()}, {platform.machine()})"
    yield f"kernel {platform.system()} {platform.release()} {platform.version()}"
    try:
        yield f"system {platform.freedesktop_os_release().get('PRETTY_NAME', '')}"
    except OSError:
        yield "system unknown: there is no os-release"
    yield f"C library {' '.join(platform.libc_ver())}"
    yield ""
    yield from sorted({f"{each.name} {each.version}" for each in metadata.distributions()}, key=str.lower)

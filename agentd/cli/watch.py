"""What ``agentd collect --watch`` does: it collects again at each save of a file, and shows what that changed."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import click

from agentd.cli.lines import local_time
from agentd.metrics.gather import Gatherer

PAUSE = 0.1
"""Seconds between two looks at the files."""

PATIENCE = 10.0
"""Seconds that a collection may take to begin and to end, beside its own deadline."""

OWN = frozenset(metric.name for metric in Gatherer.METRICS.values())
"""Metrics that tell of the collection itself: their values are others each time."""

Stamps = Mapping[Path, tuple[int, int, int]]


class Collected(NamedTuple):
    """What came of a collection."""

    samples: Mapping[str, str]
    """The value of each series, as it is written."""
    said: str
    """What there is to be said beside them: what went wrong, above all."""
    failed: bool


def watch(arguments: Sequence[str], files: Sequence[Path], deadline: float) -> None:
    """Run ``agentd`` with these arguments, and again whenever one of the files, or what is in a folder, was saved.

    Each run is a process of its own: whatever the code does that is being written, watching goes on.
    """
    click.echo(f"watching {', '.join(map(str, files))}; Ctrl+C ends it")
    before: Mapping[str, str] | None = None
    while True:
        stamps = settled(files)
        collected = _run(arguments, deadline, lambda stamps=stamps: stamped(files) != stamps)  # type: ignore[misc]  # a lambda's default has no type
        if collected is not None:
            now = local_time(time.time())[11:19]
            if collected.failed:
                click.echo(f"{now}  failed")
            else:
                click.echo(f"{now}  {counted(before, collected.samples)}")
                for line in difference(before or {}, collected.samples):
                    click.echo(f"  {line}")
                before = collected.samples
            if collected.said:
                click.echo(collected.said.rstrip())
        while stamped(files) == stamps:
            time.sleep(PAUSE)


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each series that is new (+), gone (-) or has another value (~), in the order of the series."""
    for series in dict.fromkeys((*after, *before)):
        if series not in before:
            yield f"+ {series} {after[series]}"
        elif series not in after:
            yield f"- {series} {before[series]}"
        elif after[series] != before[series]:
            yield f"~ {series} {before[series]} → {after[series]}"


def counted(before: Mapping[str, str] | None, after: Mapping[str, str]) -> str:
    """Return in words how many series there are, and how many of them are others than before."""
    if before is None:
        return f"{len(after)} series"
    added, gone = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    changed = sum(before[series] != after[series] for series in after.keys() & before.keys())
    return f"{len(after)} series: {added} added, {gone} gone, {changed} changed"


def samples(exposition: str) -> dict[str, str]:
    """Return the value of each series in a text, but for those that tell of the collection itself."""
    found = {}
    for line in exposition.splitlines():
        series, _, value = line.rpartition(" ")
        if not line.startswith("#") and series.partition("{")[0] not in OWN:
            found[series] = value
    return found


def stamped(files: Sequence[Path]) -> Stamps:
    """Return what tells files from what they were before; those that are not there are left out."""
    found = {}
    for file in files:
        for each in file.rglob("*.py") if file.is_dir() else [file]:
            with suppress(OSError):
                status = each.stat()
                found[each] = status.st_mtime_ns, status.st_size, status.st_ino
    return found


def settled(files: Sequence[Path]) -> Stamps:
    """Return the stamps of files when they are all there, and nobody is saving them any more."""
    while True:
        before = stamped(files)
        time.sleep(PAUSE)
        if before and before == stamped(files):
            return before


def _run(arguments: Sequence[str], deadline: float, outdated: Callable[[], bool]) -> Collected | None:
    """Collect in a process of its own; None where a file was saved meanwhile."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    until = time.monotonic() + deadline + PATIENCE
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [sys.executable, "-m", "agentd", *arguments]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment) as process:  # noqa: S603  # this very program
            try:
                while process.poll() is None and not outdated() and time.monotonic() < until:
                    time.sleep(PAUSE / 2)
                ended = process.poll() is not None
            finally:
                process.kill()
        if not ended and outdated():
            return None
        out.seek(0)
        err.seek(0)
        said = err.read().decode("utf-8", "replace")
        if not ended:
            said += f"it was not done after {deadline + PATIENCE:g} s, and was killed\n"
        elif process.returncode < 0:
            said += f"it was killed by signal {-process.returncode}\n"
        return Collected(samples(out.read().decode("utf-8", "replace")), said, failed=process.returncode != 0)

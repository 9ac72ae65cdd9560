"""Metrics that other programs leave in files, in Prometheus's text format: ``*.prom`` in given folders."""

import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentd.plugin import Collector, Config, Context, Family, Frame, Labels, Value, gauge, hookimpl
from agentd_plugins.collectors import _textformat

OWN = b"# Written by agentd, process %d;"
"""How the files of the exporter textfile begin."""

LARGEST = 32 * 2**20
"""Bytes that a file may have: reading one takes several times its size in memory."""

TOLD = 50
"""Problems that are logged at most when they are found together: a folder may have any number of files."""


class TextfileConfig(Config, frozen=True):
    """Options of the collector textfile."""

    directory: list[str] | str = []
    """Folders whose files ``*.prom`` are read; each may be a pattern such as ``/var/lib/*/metrics``."""


@dataclass(slots=True, eq=False)
class Content:
    """What a file held when it was read. One that nothing changed since has the same stamp."""

    stamp: tuple[int, int, int] | None
    mtime: float = 0.0
    families: list[Family] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    readable: bool = True


class Textfile(Collector[TextfileConfig]):
    """Metrics from files."""

    name = "textfile"
    foreign = True

    mtime = gauge("node_textfile_mtime_seconds", "When a file was written last, in seconds since 1970.", ("file",))
    scrape_error = gauge("node_textfile_scrape_error", "Whether something in the files could not be told: 1 or 0.")

    def __init__(self, config: TextfileConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        patterns = self.config.directory
        self._patterns = [pattern for pattern in ([patterns] if isinstance(patterns, str) else patterns) if pattern]
        self.blocking = bool(self._patterns)  # without a folder there is nothing to wait for
        self._files: dict[str, Content] = {}
        self._families: list[Family] = []
        self._conflicts: list[str] = []
        self._said: set[str] = set()
        self._nothing = Frame.of([self.scrape_error(0.0)])

    def collect(self) -> Sequence[Family]:
        """Return what the files hold. What is wrong with one is said in the log, once."""
        if not self._patterns:
            return self._nothing
        problems: list[str] = []
        files = {path: self._content(path) for path in self._paths(problems)}
        if files != self._files:
            self._files = files
            self._families, self._conflicts = unite({path: content.families for path, content in files.items()})
        for path, content in files.items():
            problems += (f"{path}: {problem}" for problem in content.problems)
        problems += self._conflicts
        new = [problem for problem in problems if problem not in self._said]
        for problem in new[:TOLD]:
            self.log.warning("%s", problem)
        if new[TOLD:]:
            self.log.warning("and %d further problems of this kind", len(new) - TOLD)
        self._said = set(problems)
        mtimes = {shown(path): content.mtime for path, content in files.items() if content.readable}
        return [*self._families, *([self.mtime(mtimes)] if mtimes else []), self.scrape_error(float(bool(problems)))]

    def _paths(self, problems: list[str]) -> Iterator[str]:
        for pattern in self._patterns:
            # What matches nothing is taken for a folder's name: that it is not there has to be said.
            folders = glob.glob(pattern, include_hidden=True)  # noqa: PTH207  # a Path has no absolute patterns
            for folder in sorted(folders) or [pattern]:
                try:
                    names = sorted(entry.name for entry in Path(folder).iterdir())
                except OSError as error:
                    problems.append(f"{folder}: the folder cannot be read: {error.strerror}")
                    continue
                yield from (os.path.normpath(os.path.join(folder, name)) for name in names if name.endswith(".prom"))

    def _content(self, path: str) -> Content:
        known = self._files.get(path)
        try:
            status = Path(path).stat()
            stamp = status.st_mtime_ns, status.st_size, status.st_ino
            if known and known.stamp == stamp:
                return known
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is no regular file")
            if status.st_size > LARGEST:
                raise ValueError(f"has {status.st_size} bytes; at most {LARGEST} are read")
            with open(path, "rb") as file:
                text = file.read(LARGEST)
            if text.startswith(OWN % os.getpid()):
                raise ValueError("this agent itself has written it, and would read for ever what it once said")
            families, repeated = _textformat.parse(text)
        except OSError as error:  # permissions may change without leaving a trace in the stamp: try again each time
            return Content(None, problems=[f"the file cannot be read: {error.strerror}"], readable=False)
        except ValueError as error:
            return Content(stamp, problems=[f"the file is left out: {error}"], readable=False)
        problems = [f"{series} is there more than once; only the first is told" for series in repeated]
        return Content(stamp, float(status.st_mtime_ns // 10**9), families, problems)


def unite(files: Mapping[str, list[Family]]) -> tuple[list[Family], list[str]]:
    """Return the families of all files, each name once, and what had to be left out.

    Where files disagree about a metric, the first wins. Where none says what it means, the help names the files.
    """
    groups: dict[str, dict[str, Family]] = {}
    conflicts = []
    for path, family in ((path, family) for path, families in files.items() for family in families):
        group = groups.setdefault(family.name, {})
        first = next(iter(group.values()), family)
        said = next((known.help for known in group.values() if known.help), family.help)
        if family.name in (Textfile.mtime.name, Textfile.scrape_error.name):
            conflicts.append(f"{path}: {family.name} is left out: this name is the collector's own")
        elif family.kind != first.kind:
            conflicts.append(f"{path}: {family.name} is left out: {next(iter(group))} says that it is a {first.kind}")
        elif family.help and family.help != said:
            conflicts.append(f"{path}: {family.name} is left out: another file's HELP for it differs: {said!r}")
        else:
            group[path] = family
    return [_together(group, conflicts) for group in groups.values() if group], conflicts


def _together(group: Mapping[str, Family], conflicts: list[str]) -> Family:
    first = next(iter(group.values()))
    names = tuple(dict.fromkeys(name for family in group.values() for name in family.label_names))
    samples: dict[Labels, Value] = {}
    for path, family in group.items():
        places = [family.label_names.index(name) if name in family.label_names else None for name in names]
        for key, value in family.samples.items():
            labels = tuple(None if place is None else key[place] for place in places)
            if labels in samples:
                conflicts.append(f"{path}: {family.name}: {labels} is told by another file as well; the first counts")
            else:
                samples[labels] = value
    said = next((family.help for family in group.values() if family.help), "")
    return Family(first.name, first.kind, said or f"A metric found in {', '.join(map(shown, group))}.", names, samples)


def shown(path: str) -> str:
    """Return a path as text for a label, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "replace")


@hookimpl
def agentd_collectors() -> list[type[Textfile]]:
    """Register the collector."""
    return [Textfile]

"""Finds plugins without importing them: bundled ones, entry points of installed packages, files in plugin folders."""

import importlib
import importlib.util
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

KINDS = ("collectors", "exporters", "sinks")
"""The kinds of plugins: the names of the configuration's sections, of the bundled folders and, behind ``agentd.``, of
the groups of entry points."""

BUNDLED = "bundled"
"""The origin of what comes with agentd."""

_TESTS = re.compile(r"test_.*\.py|conftest\.py")
"""What pytest runs: it may stand in a plugin folder beside what it tests."""


@dataclass(frozen=True, slots=True)
class Found:
    """A module in which plugins are expected. ``kind`` is None where only loading it will tell."""

    name: str
    kind: str | None
    module: str
    """Its import name; for a file in a plugin folder a private one."""
    file: Path | None = None
    """The file, where it is not to be found by its import name."""
    origin: str = ""
    """Where it comes from, in words."""

    def load(self) -> ModuleType:
        """Import the module. Raises whatever importing it raises."""
        if self.file is None:
            return importlib.import_module(self.module)
        loader = _FromSource(self.module, str(self.file))
        spec = importlib.util.spec_from_file_location(self.module, self.file, loader=loader)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.file} cannot be loaded as a Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module  # dataclasses and pickling look a class's module up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[self.module]
            raise
        return module


class _FromSource(SourceFileLoader):
    """Compiles a file each time. What Python keeps of it is told from the file by its size and the second in which it
    was saved: what was saved twice within one would be loaded as it was the first time.
    """

    def path_stats(self, path: Any) -> Any:
        """Say that nothing is known by which a compiled file could be told to fit."""
        raise OSError(f"{path} is compiled each time")


def bundled() -> Iterator[Found]:
    """Yield the plugins of the package ``agentd_plugins``, by looking at its folders only."""
    spec = importlib.util.find_spec("agentd_plugins")
    for location in spec.submodule_search_locations or () if spec else ():
        for kind in KINDS:
            for path, module in _modules(Path(location) / kind, f"agentd_plugins.{kind}"):
                yield Found(path.stem, kind, module, origin=BUNDLED)


def installed() -> Iterator[Found]:
    """Yield the plugins that installed packages announce as entry points in the groups ``agentd.collectors`` …."""
    groups = {f"agentd.{kind}": kind for kind in KINDS}
    for package, text in chain.from_iterable(map(_announcements, _folders())):
        for group, name, value in entry_points(text):
            if group in groups:
                module = value.partition("[")[0].partition(":")[0].strip()  # what is no name fails when it is imported
                yield Found(name, groups[group], module, origin=f"package {package}")


def entry_points(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield group, name and value of each line of an ``entry_points.txt``.

    What the standard library has for this reads all about every package, which takes a second where there are hundreds,
    and 1 MB of memory where there are none. https://packaging.python.org/specifications/entry-points/
    """
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield group, name.strip(), value.strip()


def _folders() -> Iterator[tuple[str, list[str]]]:
    """Yield the entries of ``sys.path``, each with its folders that tell about a package. Of two packages of one name
    it is the first that counts.
    """
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path):
        names = {name.partition("-")[0].lower().replace(".", "_"): name for name in sorted(_about(folder))}
        yield folder, [f"{folder or '.'}/{name}" for package, name in names.items() if package not in seen]
        seen.update(names)


def _about(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
    except OSError:  # not there, or no folder
        return []


def _announcements(where: tuple[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield the name of each package that may announce plugins, and its entry points."""
    folder, about = where
    for path in about:
        text = _text(f"{path}/entry_points.txt")
        if "[agentd." in text:
            name = re.search(r"^Name:[ \t]*(\S+)", _text(f"{path}/METADATA") or _text(f"{path}/PKG-INFO"), re.MULTILINE)
            yield name[1] if name else Path(path).stem, text
    if folder.endswith((".egg", ".whl", ".zip", ".pyz")) and Path(folder).is_file():
        from importlib.metadata import distributions

        for each in distributions(path=[folder]):
            yield each.name, each.read_text("entry_points.txt") or ""


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8", "replace")
    except OSError:
        return ""


def in_folders(folders: Sequence[str]) -> Iterator[Found]:
    """Yield the ``*.py`` files of folders that the user names, each once. Those that begin with ``_`` are no plugins,
    and neither are pytest's. What is named may be such a file itself.
    """
    known: set[Path] = set()
    for folder in folders:
        named = expanded(folder)
        for file in [named] if named.is_file() else sorted(named.glob("[!_]*.py")):
            if file != named and _TESTS.fullmatch(file.name):
                continue
            if file.resolve() not in known:
                known.add(file.resolve())
                module = f"agentd_plugin_dirs.{crc32(str(file.parent).encode()):x}.{file.stem}"
                yield Found(file.stem, None, module, file, origin=str(file))


def open_to_everybody(found: Found) -> Path | None:
    """Return what every user of this machine can write, of a plugin's file and its folder; as a rule neither."""
    for place in () if found.file is None else (found.file.parent, found.file):
        with suppress(OSError):  # who cannot look at it cannot load it
            if place.stat().st_mode & stat.S_IWOTH:
                return place
    return None


def expanded(folder: str) -> Path:
    """Return a folder that may begin with ``~``."""
    return Path(os.path.expanduser(folder))  # noqa: PTH111  # that of pathlib raises where there is no such user


def _modules(folder: Path, package: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.stem
        if name.startswith("_") or not name.isidentifier():
            continue
        if path.suffix == ".py":
            yield path, f"{package}.{name}"
        elif path.is_dir():
            begin = path / "__init__.py"
            # A package that registers something is one plugin; any other folder is only a group of plugins.
            if begin.is_file() and "@hookimpl" in begin.read_text("utf-8"):
                yield path, f"{package}.{name}"
            else:
                yield from _modules(path, f"{package}.{name}")

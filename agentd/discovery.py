"""Finds plugins without importing them: bundled ones, entry points of installed packages, files in plugin folders."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from zlib import crc32

KINDS = ("collectors", "exporters", "sinks")
"""The kinds of plugins: the names of the configuration's sections, of the bundled folders and, behind ``agentd.``, of
the groups of entry points."""

BUNDLED = "bundled"
"""The origin of what comes with agentd."""


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
        spec = importlib.util.spec_from_file_location(self.module, self.file)
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


def bundled() -> Iterator[Found]:
    """Yield the plugins of the package ``agentd_plugins``, by looking at its folders only."""
    spec = importlib.util.find_spec("agentd_plugins")
    for location in spec.submodule_search_locations or () if spec else ():
        for kind in KINDS:
            for path, module in _modules(Path(location) / kind, f"agentd_plugins.{kind}"):
                yield Found(path.stem, kind, module, origin=BUNDLED)


def installed() -> Iterator[Found]:
    """Yield the plugins that installed packages announce as entry points in the groups ``agentd.collectors`` …."""
    if not any(map(_announces, sys.path)):  # as on most hosts; what reads them properly takes 1 MB of memory
        return
    from importlib.metadata import entry_points

    for kind in KINDS:
        for point in entry_points(group=f"agentd.{kind}"):
            distribution = point.dist.name if point.dist else "an installed package"
            module = (
                point.value.partition("[")[0].partition(":")[0].strip()
            )  # what is no name fails when it is imported
            yield Found(point.name, kind, module, origin=f"package {distribution}")


def _announces(folder: str) -> bool:
    """Say whether any package in a folder of ``sys.path`` may announce a plugin; only folders can be looked into."""
    try:
        with os.scandir(folder or ".") as entries:
            files = [
                f"{entry.path}/entry_points.txt"
                for entry in entries
                if entry.name.endswith((".dist-info", ".egg-info")) and entry.is_dir()
            ]
    except NotADirectoryError:
        return folder.endswith((".egg", ".whl"))  # an archive: nobody knows
    except OSError:
        return False
    return any(map(_names_us, files))


def _names_us(file: str) -> bool:
    try:
        return b"[agentd." in Path(file).read_bytes()
    except OSError:
        return False


def in_folders(folders: Sequence[str]) -> Iterator[Found]:
    """Yield the ``*.py`` files of folders that the user names; those that begin with ``_`` are no plugins."""
    for folder in folders:
        for file in sorted(expanded(folder).glob("*.py")):
            if not file.name.startswith("_"):
                module = f"agentd_plugin_dirs.{crc32(str(file.parent).encode()):x}.{file.stem}"
                yield Found(file.stem, None, module, file, origin=str(file))


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

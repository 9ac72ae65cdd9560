"""Files -> one tree of plain values, each with the file and line that it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from agentd.config.problems import Origin, Path, Problem, dotted

DEFAULT_FILE = File("/etc/agentd/agentd.toml")
UNITED = ("enable", "disable")
"""Lists directly in a section that unite over all files, where others are replaced."""

Overrides = Mapping[Path, tuple[object, Origin]]
"""Values that go before those of the files: ``{("web", "listen"): ([":9797"], Origin("--listen"))}``."""


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """What the files say, merged. Its ``values`` may hold secrets in clear, so its ``repr`` does not show them."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    """Every file that was looked at, in the order in which they were merged."""
    problems: tuple[Problem, ...] = ()
    """Files that could not be read or understood; ``values`` is what the others say."""

    def __repr__(self) -> str:
        return f"Document({', '.join(map(str, self.files))})"

    def origin(self, path: Path) -> Origin | None:
        """Return where a value comes from, or else the innermost table around it; None where no file has any."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return None

    def problem(self, path: Path, message: str) -> Problem:
        """Return a problem with the value at this path."""
        return Problem(self.origin(path), dotted(path), message)

    def override(self, overrides: Overrides) -> "Document":
        """Return a document in which these values stand in place of what the files say."""
        values, origins = dict(self.values), dict(self.origins)
        for path, (value, origin) in overrides.items():
            table = values
            for end, part in enumerate(path[:-1], 1):
                origins.setdefault(path[:end], origin)
                inner = table.get(part)
                table[part] = dict(inner) if isinstance(inner, dict) else {}
                table = table[part]
            table[path[-1]] = value
            _forget(origins, path)
            origins[path] = origin
        return Document(values, origins, self.files, self.problems)


def find(explicit: str | None) -> File | None:
    """Return the file to read: the one that was asked for, else ``/etc/agentd/agentd.toml`` where there is one."""
    if explicit is not None:
        return File(explicit)
    try:
        DEFAULT_FILE.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # it cannot be looked at, which reading it will report: better than running without it
        pass
    return DEFAULT_FILE


def read(path: File | None) -> Document:
    """Read a file and ``conf.d/*.toml`` beside it, in order of name; with None, return an empty document.

    Tables merge, the later file wins key by key, lists ``enable`` and ``disable`` unite, other lists are replaced.
    Raises nothing: files that cannot be used are in ``problems``.
    """
    if path is None:
        return Document()
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    files = (path, *_beside(path, problems))
    for file in files:
        document = read_one(file)
        problems += document.problems
        _merge(values, origins, document.values, document.origins, ())
    return Document(values, origins, files, tuple(problems))


def read_one(path: File) -> Document:
    """Read a file, and nothing beside it. Raises nothing, as ``read``."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        table, lines = _parse(text)
    except FileNotFoundError:
        problem = Problem(Origin(str(path)), "", "no such file")
    except OSError as error:
        problem = Problem(Origin(str(path)), "", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(Origin(str(path), line), "", "not UTF-8")
    except RecursionError:
        problem = Problem(Origin(str(path)), "", "arrays or tables are nested too deeply")
    except ValueError as error:
        message = f"not valid TOML: {getattr(error, 'msg', error)}{_column(error)}"
        problem = Problem(Origin(str(path), getattr(error, "lineno", None)), "", message)
    else:
        return Document(table, {key: Origin(str(path), line) for key, line in lines.items()}, (path,))
    return Document(files=(path,), problems=(problem,))


def reference(value: object) -> tuple[str, str] | None:
    """Return what ``{ env = "NAME" }``, ``{ file = "PATH" }`` or ``{ credential = "NAME" }`` refers to.

    None where a value is something else.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        [(kind, name)] = value.items()
        if kind in ("env", "file", "credential") and isinstance(name, str):
            return kind, name
    return None


def _beside(path: File, problems: list[Problem]) -> list[File]:
    folder = path.parent / "conf.d"
    try:
        names = [file.name for file in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(Problem(Origin(str(folder)), "", f"cannot be read: {error.strerror}"))
        return []
    # A name with a dot before it belongs to an editor.
    return [folder / name for name in sorted(names) if name.endswith(".toml") and not name.startswith(".")]


def _parse(text: str) -> tuple[dict[str, Any], dict[Path, int]]:
    import tomli  # an agent without a configuration file pays for neither import

    from agentd.config.lines import find_lines

    return tomli.loads(text), find_lines(text)


def _column(error: ValueError) -> str:
    column = getattr(error, "colno", None)
    return "" if column is None else f" (column {column})"


def _merge(
    values: dict[str, Any], origins: dict[Path, Origin], later: dict[str, Any], lines: dict[Path, Origin], path: Path
) -> None:
    for key, value in later.items():
        here = (*path, key)
        before = values.get(key)
        if isinstance(before, dict) and isinstance(value, dict) and not (reference(before) and reference(value)):
            origins |= {here: lines[here]} if here in lines else {}
            _merge(before, origins, value, lines, here)
        elif len(here) == 2 and key in UNITED and isinstance(before, list) and isinstance(value, list):
            origins |= {here: lines[here]} if here in lines else {}
            for index, item in enumerate(value):
                if item not in before:
                    origin = lines.get((*here, str(index)))
                    origins |= {(*here, str(len(before))): origin} if origin else {}
                    before.append(item)
        else:
            if isinstance(before, dict | list):
                _forget(origins, here)
            values[key] = value
            origins |= {path: origin for path, origin in lines.items() if path[: len(here)] == here}


def _forget(origins: dict[Path, Origin], path: Path) -> None:
    for inner in [each for each in origins if each[: len(path)] == path]:
        del origins[inner]

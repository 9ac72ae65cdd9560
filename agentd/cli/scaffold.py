"""The files with which a new plugin begins: templates, filled in."""

import keyword
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

KINDS = ("collector", "exporter", "sink")

OPTIONS = {
    "collector": 'folder = "/etc"',
    "exporter": 'path = "/tmp/NAME.csv"',
    "sink": 'path = "/tmp/NAME.jsonl"',
}
"""What a section says to begin with."""


def wrong(name: str, taken: Mapping[str, str]) -> str:
    """Return why a plugin cannot have a name; nothing where it can. ``taken`` tells who has which name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f', such as "{better}"' if better != name and not wrong(better, taken) else ""
        return f"expected lower-case letters, digits and _, a letter first, and no word of Python{hint}"
    if name in taken:
        return f"{taken[name]} has that name already"
    return ""


def files(name: str, kind: str, *, package: bool) -> dict[Path, str]:
    """Return the text of each file that a new plugin has, by its path."""
    if not package:
        return {Path(f"{name}.py"): _filled(f"{kind}.py", name, kind)}
    root, module = Path(f"agentd-{_dashed(name)}"), Path("src") / f"agentd_{name}"
    return {
        root / "pyproject.toml": _filled("pyproject.toml", name, kind),
        root / "README.md": _filled("README.md", name, kind),
        root / module / "__init__.py": f'"""{name}, {_article(kind)} {kind} for agentd."""\n',
        root / module / f"{name}.py": _filled(f"{kind}.py", name, kind),
        root / "tests" / f"test_{name}.py": _filled(f"test_{kind}.py", name, kind),
    }


def section(name: str, kind: str) -> str:
    """Return a section of the configuration that switches a new plugin on."""
    return f"[{kind}s.{name}]\n{OPTIONS[kind].replace('NAME', name)}"


def write(folder: Path, texts: Mapping[Path, str]) -> None:
    """Write new files. Raises ``FileExistsError`` where one of them, or the folder of a package, is there already."""
    for path in texts:
        top = folder / path.parts[0]
        if top.exists():
            raise FileExistsError(f"{top} is there already")
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8") as file:
            file.write(text)


def _filled(template: str, name: str, kind: str) -> str:
    text = resources.files("agentd.cli").joinpath("templates", f"{template}.txt").read_text("utf-8")
    return Template(text).substitute(
        name=name,
        kind=kind,
        camel="".join(part.capitalize() for part in name.split("_")),
        dashed=_dashed(name),
        article=_article(kind),
        section=section(name, kind),
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-").strip("-")


def _article(kind: str) -> str:
    return "an" if kind == "exporter" else "a"

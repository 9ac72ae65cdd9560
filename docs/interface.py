"""Lists the public interface, ``agentd.plugin``: the page docs/api.md, and what a test compares later versions with."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import MemberDescriptorType
from typing import Any, cast

from agentd import plugin
from agentd.config.describe.options import own_docs, paragraphs

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures" / "api"

INTRODUCTION = """\
# The interface for plugins

Made by `docs/generate.py` from `agentd.plugin`, version {} (`API_VERSION`). A plugin imports from there and from
nowhere else of agentd. [plugins.md](plugins.md) shows how it is used, [hooks.md](hooks.md) what a plugin may implement.

What stands here stays. The second number of the version grows with what is added; the first when something is taken
away, or changed so that a plugin would notice. Before that it is deprecated for one release of agentd at least: it
works as before, and a `DeprecationWarning` and a line in the log name the place that uses it and what to use instead.
Names that begin with `_`, and modules below `agentd.plugin`, may change at any time. A package says among its
dependencies which agentd it needs (`agentd>=…`); a file may look at `API_VERSION`.
"""

Parameters = list[list[Any]]
"""Of each parameter its name, its kind as ``inspect`` says it, and whether it has to be given."""


def listing() -> dict[str, Parameters | None]:
    """Return all public names, those of classes with their members (``Sink.send``): the parameters of what can be
    called, None for everything else.
    """
    found: dict[str, Parameters | None] = {}
    for name in plugin.__all__:
        value = getattr(plugin, name)
        found[name] = parameters(value)
        if isinstance(value, type):
            found |= {f"{name}.{member}": parameters(getattr(value, member, None)) for member in members(value)}
    return dict(sorted(found.items()))


def kept() -> str:
    """Return what is written down of this version: what stands there already, and what was added.

    Nothing is ever taken out or changed here. Before a release of the interface one may do so by hand, and should say
    so; afterwards what is to go becomes deprecated (agentd/plugin/deprecated.py).
    """
    file = Path(FOLDER) / name_of_file()
    before = json.loads(file.read_text()) if file.exists() else {}
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted({**listing(), **before}.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def name_of_file() -> str:
    """Return the name of the file that has the listing of this version."""
    return "{}.{}.json".format(*plugin.API_VERSION)


def broken(before: Mapping[str, Parameters | None], now: Mapping[str, Parameters | None]) -> Iterator[str]:
    """Yield what worked with an earlier listing and does not with a later one."""
    for name, old in before.items():
        if name not in now:
            yield f"{name} is gone"
        elif old is not None:
            new = now[name]
            yield from (f"{name}: {what}" for what in (["cannot be called"] if new is None else changes(old, new)))


def changes(old: Parameters, new: Parameters) -> Iterator[str]:
    """Yield what callers of the old signature would notice of the new one."""
    known = {name: (kind, required) for name, kind, required in new}
    positional = [name for name, kind, _ in old if kind.startswith("POSITIONAL")]
    if positional != [name for name, kind, _ in new if kind.startswith("POSITIONAL")][: len(positional)]:
        yield "its positional parameters are others, or in another order"
    for name, kind, required in old:
        if name not in known:
            yield f"the parameter {name} is gone"
            continue
        if known[name][0] != kind:
            yield f"the parameter {name} is of another kind"
        if known[name][1] and not required:
            yield f"the parameter {name} has to be given now"
    added = [each for each in new if each[0] not in {name for name, *_ in old}]
    yield from (f"the new parameter {name} has to be given" for name, _, required in added if required)
    if any(kind.startswith("VAR") for _, kind, _ in old):
        positional = [name for name, kind, _ in added if kind.startswith("POSITIONAL")]
        yield from (f"the new parameter {name} takes what others took" for name in positional)


def parameters(value: Any) -> Parameters | None:
    """Return the parameters of what can be called; None for everything else, and where Python does not know them."""
    value = value.fget if isinstance(value, property) else value
    if not callable(value) or (isinstance(value, type) and issubclass(value, Enum)):
        return None
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return None
    return [[name, each.kind.name, is_required(each)] for name, each in signature.parameters.items()]


def is_required(parameter: inspect.Parameter) -> bool:
    """Say whether a parameter has to be given."""
    variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variable


def members(cls: type) -> list[str]:
    """Return the public members of a class and of those that it extends, as far as they are of agentd."""
    names = {
        name
        for base in cls.__mro__
        if base.__module__.startswith("agentd.")
        for name in (*vars(base), *inspect.get_annotations(base), *attributes(base))
    }
    return sorted(name for name in names if not name.startswith("_"))


def page() -> str:
    """Return the page of the public interface."""
    lines = INTRODUCTION.format(".".join(map(str, plugin.API_VERSION))).splitlines()
    exported = {name: getattr(plugin, name) for name in sorted(plugin.__all__, key=str.lower)}
    classes = {name: value for name, value in exported.items() if isinstance(value, type)}
    for name, cls in classes.items():
        lines += ["", f"## {name}", "", f"`{heading(cls)}`", "", *prose(cls), *described(cls)]
    lines += ["", "## Functions", ""]
    functions = {name: value for name, value in exported.items() if inspect.isfunction(value)}
    lines += [
        f"- `{written(name, value)}`: {' '.join(filter(None, prose(value)))}" for name, value in functions.items()
    ]
    lines += ["", "## Other names", ""]
    docs = constants()
    lines += [f"- `{name}`: {docs.get(name, '')}".rstrip() for name in exported if name not in {*classes, *functions}]
    return "\n".join(lines) + "\n"


def heading(cls: type) -> str:
    """Return the first line of a class, without its colon."""
    node = parsed(cls)
    bases = ", ".join(ast.unparse(each) for each in (*node.bases, *node.keywords))
    return f"class {cls.__name__}({bases})" if bases else f"class {cls.__name__}"


def described(cls: type) -> Iterator[str]:
    """Yield a line for each member that a class has of its own; its constructor where it says how to call it."""
    docs = own_docs(cls) | {name: doc for name, (_, doc) in attributes(cls).items()}
    begun = False
    for name, node in own(cls).items():
        if isinstance(node, ast.AnnAssign):
            text, doc = ast.unparse(node), docs.get(name, "")
        else:
            value = inspect.getattr_static(cls, name)
            text, doc = signature(node), " ".join(prose(value))
            text = (
                f"{name}: {ast.unparse(node.returns)}"
                if isinstance(value, property | cached_property) and node.returns
                else text
            )
        yield from () if begun else ("",)
        begun = True
        yield f"- `{' '.join(text.split())}`" + (f": {' '.join(doc.replace('``', '`').split())}" if doc else "")


def own(cls: type) -> dict[str, ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the public attributes and methods that a class's source has, ``__init__`` and what it sets included."""
    found: dict[str, ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in parsed(cls).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        else:
            continue
        if name == "__init__" or not name.startswith("_"):
            found.setdefault(name, node)
        if name == "__init__":
            found |= {each: node for each, (node, _) in attributes(cls).items() if each not in found}
    return found


def attributes(cls: type) -> dict[str, tuple[ast.AnnAssign, str]]:
    """Return the public attributes that a class's own ``__init__`` sets, with their types and docstrings.

    The type is that of the parameter which it is set to, unless it has its own. Raises ``ValueError`` without either.
    """
    found: dict[str, tuple[ast.AnnAssign, str]] = {}
    for method in (each for each in parsed(cls).body if isinstance(each, ast.FunctionDef) and each.name == "__init__"):
        types = {each.arg: each.annotation for each in (*method.args.args, *method.args.kwonlyargs)}
        for node, below in pairwise([*method.body, ast.Pass()]):
            match node:
                case ast.Assign([ast.Attribute(ast.Name("self"), name)], value):
                    type_ = types.get(value.id) if isinstance(value, ast.Name) else None
                case ast.AnnAssign(ast.Attribute(ast.Name("self"), name), type_):
                    pass
                case _:
                    continue
            if name.startswith("_"):
                continue
            if type_ is None:
                raise ValueError(f"{cls.__name__}.{name} is public: its assignment in __init__ needs a type")
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            found[name] = ast.AnnAssign(ast.Name(name), type_, None, 1), " ".join(paragraphs(str(text)))
    return found


def parsed(cls: type) -> ast.ClassDef:
    """Return the source of a class."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    return cast("ast.ClassDef", node)


def written(name: str, function: Any) -> str:
    """Return the signature of a function as its source has it, under its public name."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    return signature(cast("ast.FunctionDef", node), name)


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str = "") -> str:
    """Return name, parameters and result of a function."""
    begin = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{begin}{name or node.name}({ast.unparse(node.args)}){result}"


def prose(value: Any) -> list[str]:
    """Return the paragraphs of a docstring, with an empty line between them."""
    doc = value.__doc__ if not isinstance(value, MemberDescriptorType) else ""
    found = paragraphs((doc or "").replace("``", "`"))
    return [line for each in found for line in ("", each)][1:]


def constants() -> dict[str, str]:
    """Return what stands below the definitions of public names that are no classes or functions."""
    from agentd.metrics import family

    docs = {}
    for module in (plugin, family):
        body = ast.parse(inspect.getsource(module)).body
        for node, below in pairwise(body):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                means = f"`{ast.unparse(node.value)}`. " if node.targets[0].id[0].isupper() else ""
                docs[node.targets[0].id] = means + " ".join(" ".join(paragraphs(str(text))).replace("``", "`").split())
    return docs

"""The options that a class declares, with the docstrings that stand below them in its source."""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

import msgspec

from agentd.config.spelling import toml
from agentd.config.wording import example, mentions_secret, words


class Option(msgspec.Struct, frozen=True):
    """One option, in words for people."""

    name: str
    type: str
    """``duration``, ``list of strings``, ``one of "a", "b"`` …"""
    default: str | None
    """Its default in TOML; None where it is required, or where nothing is set by default."""
    required: bool
    example: str
    """A value in TOML: the default where there is one."""
    doc: str
    """The docstring below the field, without line breaks inside a paragraph; empty where there is none."""
    secret: bool


def options(config_type: type[msgspec.Struct]) -> list[Option]:
    """Return the options of a class in the order in which they are declared."""
    docs = field_docs(config_type)
    result = []
    for field in msgspec.structs.fields(config_type):
        value = default(field)
        written = None if value is None or field.required else toml(value)
        result.append(
            Option(
                name=field.encode_name,
                type=words(field.type),
                default=written,
                required=field.required,
                example=example(field.type) if written is None else written,
                doc=docs.get(field.name, ""),
                secret=mentions_secret(field.type),
            )
        )
    return result


def default(field: msgspec.structs.FieldInfo) -> Any:
    """Return the value of a field that is not set; None where it is required, or is None by default."""
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def field_docs(type_: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstrings of a class's fields, inherited ones included. Without the source there are none."""
    docs: dict[str, str] = {}
    for base in reversed(type_.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            docs |= own_docs(base)
    return docs


def paragraphs(text: str | None) -> list[str]:
    """Return the paragraphs of a docstring, each on one line."""
    blocks = inspect.cleandoc(text or "").split("\n\n")
    return [" ".join(block.split()) for block in blocks if block.strip()]


def own_docs(type_: type) -> dict[str, str]:
    """Return the docstrings of the attributes that a class itself annotates. One that was made up because its plugin is
    not imported here brings them.
    """
    told = vars(type_).get("__field_docs__")
    if told is not None:
        return {name: "\n\n".join(paragraphs(text)) for name, text in told.items()}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type_)))
    except (OSError, TypeError, SyntaxError):  # made up at run time, or only its compiled form is there
        return {}
    body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
    docs = {}
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = "\n\n".join(paragraphs(below.value.value))
    return docs

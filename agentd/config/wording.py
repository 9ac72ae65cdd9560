"""The types of options in plain words: what an error expects, what the reference page says."""

from datetime import UTC, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from agentd.config.spelling import key, toml
from agentd.options import PARSED, Duration, Regex, Secret, Size, Url

LISTS: tuple[type[Any], ...] = (list, tuple, set, frozenset)

_NOUNS: dict[object, str] = {
    Duration: "duration",
    Size: "size",
    Regex: "regular expression",
    Url: "URL",
    Secret: "secret",
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    datetime: "moment with its time zone",
}
_EXAMPLES: dict[object, object] = {
    bool: True,
    int: 1,
    float: 1.0,
    str: "text",
    datetime: datetime(2030, 1, 31, 12, tzinfo=UTC),
}
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "of length {} or more",
    "max_length": "of length {} or less",
    "pattern": "matching {}",
}


def arms(type_: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type without None, which TOML cannot say: ``int | None`` gives ``(int,)``."""
    if get_origin(type_) in (Union, UnionType):
        return tuple(arm for arm in get_args(type_) if arm is not NoneType)
    if get_origin(type_) is Annotated and get_origin(bare(type_)) in (Union, UnionType):
        return tuple(Annotated[(arm, *get_args(type_)[1:])] for arm in arms(bare(type_)))
    return (type_,)


def bare(type_: Any) -> Any:
    """Return a type without its ``Annotated``."""
    return get_args(type_)[0] if get_origin(type_) is Annotated else type_


def bounds(type_: Any) -> dict[str, Any]:
    """Return what ``msgspec.Meta`` demands of a type, by the names of its parameters."""
    return {name: value for meta in _metas(type_) for name in _BOUNDS if (value := getattr(meta, name)) is not None}


def choices(type_: Any) -> tuple[Any, ...]:
    """Return the values of a ``Literal`` or an ``Enum``; of any other type, none."""
    type_ = bare(type_)
    if get_origin(type_) is Literal:
        return get_args(type_)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return tuple(member.value for member in type_)
    return ()


def element(type_: Any) -> Any | None:
    """Return the type of the elements of a list, tuple or set; None where it is none (or a tuple of fixed length)."""
    type_ = bare(type_)
    if type_ in LISTS:
        return Any
    if get_origin(type_) in LISTS:
        arguments = get_args(type_)
        if get_origin(type_) is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return arguments[0]
    return None


def entry(type_: Any) -> Any | None:
    """Return the type of the values of a mapping; None where it is none."""
    type_ = bare(type_)
    if type_ is dict:
        return Any
    return get_args(type_)[1] if get_origin(type_) is dict else None


def is_struct(type_: Any) -> bool:
    """Return whether a type has fields of its own."""
    type_ = bare(type_)
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def mentions_secret(type_: Any, around: frozenset[Any] = frozenset()) -> bool:
    """Return whether secrets may stand in a value of this type, however deep; ``around`` are structs that it is in."""
    type_ = bare(type_)
    inner = get_args(type_)
    if is_struct(type_) and type_ not in around:
        around |= {type_}
        inner = tuple(field.type for field in msgspec.structs.fields(type_))
    return type_ is Secret or any(mentions_secret(each, around) for each in inner)


def words(type_: Any) -> str:
    """Return what values of a type are, without an article: ``duration``, ``list of strings``, ``one of "a", "b"``."""
    return " or ".join(map(_arm, arms(type_)))


def expected(type_: Any) -> str:
    """Return ``expected a duration`` and the like."""
    text = words(type_)
    return f"expected {text}" if text.startswith(("one of", "true")) else f"expected a {text}"


def example(type_: Any) -> str:
    """Return a value of this type in TOML: one that ``msgspec.Meta(examples=…)`` gives, or a plain one."""
    arm = arms(type_)[0]
    for meta in _metas(arm):
        if meta.examples:
            return toml(meta.examples[0])
    plain = bare(arm)
    inner = element(arm)
    if plain in PARSED:
        return str(plain.EXAMPLE)
    if choices(arm):
        return toml(choices(arm)[0])
    if inner is not None:
        return f"[{example(inner)}]"
    if (inner := entry(arm)) is not None:
        return f"{{ name = {example(inner)} }}"
    if is_struct(arm):
        pairs = [f"{key(f.encode_name)} = {example(f.type)}" for f in msgspec.structs.fields(plain) if f.required]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return toml(bounds(arm).get("ge", _EXAMPLES.get(plain, "text")))


def _metas(type_: Any) -> list[msgspec.Meta]:
    arguments = get_args(type_)[1:] if get_origin(type_) is Annotated else ()
    return [argument for argument in arguments if isinstance(argument, msgspec.Meta)]


def _arm(type_: Any) -> str:
    noun, limits = _noun(bare(type_)), _limits(type_)
    return f"{noun}, {limits}" if limits else noun


def _limits(type_: Any) -> str:
    return ", ".join(_BOUNDS[name].format(value) for name, value in bounds(type_).items())


def _noun(type_: Any) -> str:
    if type_ in _NOUNS:
        return _NOUNS[type_]
    if choices(type_):
        return "one of " + ", ".join(map(toml, choices(type_)))
    for noun, inner in (("list", element(type_)), ("table", entry(type_))):
        if inner is not None:
            return noun if inner is Any else f"{noun} of " + " or ".join(map(_plural, arms(inner)))
    if is_struct(type_):
        return "table"
    return "value" if type_ is Any else getattr(type_, "__name__", str(type_))


def _plural(type_: Any) -> str:
    noun, limits = _noun(bare(type_)), _limits(type_)
    if noun.startswith(("one of", "true")):
        return f"values, each {noun}"
    head, of, rest = noun.partition(" of ")
    # In brackets: what follows them is said of the whole.
    return f"{head}s{of}{rest}" + (f" (each {limits})" if limits else "")

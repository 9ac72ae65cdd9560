"""Tables of plain values -> typed structs, field by field, so that every error is found and not only the first."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path as File
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import msgspec

from agentd import directories
from agentd.config.problems import Path, Problem, suggest
from agentd.config.source import Document, reference
from agentd.config.spelling import found
from agentd.config.wording import arms, bare, choices, element, entry, example, expected, is_struct, mentions_secret
from agentd.options import PARSED, Regex, Secret, Url, decode

S = TypeVar("S", bound=msgspec.Struct)

_BAD: Final = object()
"""Stands for a value that could not be had; why is among the problems."""
_LARGEST_FILE = 1 << 20


def to_struct(
    type_: type[S],
    table: object,
    path: Path,
    document: Document,
    problems: list[Problem],
    *,
    also: Iterable[str] = (),
) -> S | None:
    """Make a struct of a table; None where there are problems, which are added to the list.

    None, too, where something required may be missing only because a file could not be understood.

    ``also`` names keys that are known beside the struct's fields: they belong into suggestions.
    """
    result: S | None = _Conversion(document, problems).struct(type_, table, path, tuple(also))
    return result


def to_fields(type_: type[S], table: object, path: Path, document: Document, problems: list[Problem]) -> dict[str, Any]:
    """Return those fields of a struct that a table has and that are right; what is wrong is added to the problems."""
    return _Conversion(document, problems).fields(type_, table, path)


class _Conversion:
    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document = document
        self._problems = problems
        self._hidden: set[str] = set()  # texts that no error may repeat

    def struct(self, type_: type[msgspec.Struct], table: object, path: Path, also: tuple[str, ...] = ()) -> Any:
        if table == {}:  # as of most plugins: to look at each type takes long
            with suppress(Exception):  # what is wrong is found below
                return type_()
        before = len(self._problems)
        values = self.fields(type_, table, path, also)
        if len(self._problems) > before or (self._document.problems and not values.keys() >= required(type_)):
            return None
        try:
            return type_(**values)
        except (ValueError, TypeError) as error:
            return self._reject(path, self._redacted(str(error)), None)
        except Exception as error:  # noqa: BLE001  # a plugin's __post_init__ may raise anything
            return self._reject(path, self._redacted(f"{type(error).__name__}: {error}"), None)

    def fields(
        self, type_: type[msgspec.Struct], table: object, path: Path, also: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        if not isinstance(table, Mapping):
            self._reject(path, f"expected a table; found {found(table)}")
            return {}
        known = _fields(type_)
        for key in table:
            if key not in known:
                self._reject((*path, key), unknown_key(key, (*known, *also)))
        values: dict[str, Any] = {}
        for name, field in known.items():
            if name in table:
                value = self._value(field.type, table[name], (*path, name))
                if value is not _BAD:
                    values[field.name] = value
            # A file that could not be understood may well have had it.
            elif field.required and not self._document.problems:
                self._reject((*path, name), f"required, and not set; for example: {name} = {example(field.type)}")
        return values

    def _value(self, type_: Any, value: object, path: Path) -> Any:
        alternatives = arms(type_)
        if reference(value) and not any(entry(arm) is not None or is_struct(arm) for arm in alternatives):
            return self._substituted(type_, value, path)
        for arm in alternatives:
            if isinstance(value, list) and element(arm) is not None:
                return self._elements(arm, value, path)
            if isinstance(value, Mapping) and entry(arm) is not None:
                items = {key: self._value(entry(arm), item, (*path, key)) for key, item in value.items()}
                return _BAD if _BAD in items.values() else self._bounded(arm, dict, items, path)
            if isinstance(value, Mapping) and is_struct(arm):
                struct = self.struct(bare(arm), value, path)
                return _BAD if struct is None else struct
        return self._scalar(type_, value, path, hidden=mentions_secret(type_), strict=True)

    def _elements(self, type_: Any, values: list[Any], path: Path) -> Any:
        items = [self._value(element(type_), item, (*path, str(index))) for index, item in enumerate(values)]
        if any(item is _BAD for item in items):
            return _BAD
        make = get_origin(bare(type_)) or bare(type_)
        return self._bounded(type_, list, items, path, make)

    def _bounded(self, type_: Any, plain: type, items: Any, path: Path, make: Any = None) -> Any:
        if get_origin(type_) is Annotated:
            try:
                msgspec.convert(items, Annotated[(plain, *get_args(type_)[1:])])
            except msgspec.ValidationError:
                return self._reject(path, f"{expected(type_)}; found {len(items)}")
        return items if make in (None, list) else make(items)

    def _scalar(self, type_: Any, value: object, path: Path, *, hidden: bool, strict: bool) -> Any:
        alternatives = arms(type_)
        message = ""
        for arm in alternatives:
            try:
                result = _made(arm, value, strict=strict)
            except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as error:
                words = isinstance(error, ValueError) and len(alternatives) == 1
                if words and _is_safe(bare(arm), value, hidden=hidden):
                    message = str(error)
            except (NotImplementedError, TypeError):
                return self._reject(path, f"options of type {type_!r} cannot be set from a file")
            else:
                parts = result if isinstance(result, tuple) else (result,)
                self._hidden.update(part.reveal() for part in parts if isinstance(part, Secret))
                return result
        message = message or expected(type_)
        if hidden:
            return self._reject(path, message)
        hint = suggest(value, map(str, choices(type_))) if isinstance(value, str) else ""
        return self._reject(path, f"{message}; found {found(value)}{hint}")

    def _substituted(self, type_: Any, value: object, path: Path) -> Any:
        kind, name = reference(value) or ("", "")
        text: str | None
        if kind == "env":
            text = os.environ.get(name)
            if text is None:
                return self._reject(path, f"environment variable {name} is not set")
            if not _is_utf8(text):
                return self._reject(path, f"environment variable {name} is not UTF-8")
        else:
            if kind == "credential":
                if not name or "/" in name or name.startswith("."):
                    return self._reject(path, f"expected the name of a credential; found {found(name)}")
                file = directories.credentials() / name
                advice = f"; a line LoadCredential={name}:PATH in a drop-in of the unit puts it there"
            else:
                origin = self._document.origin(path)
                file = File(origin.file if origin else "").parent / name
                advice = ""
            try:
                text = _contents(file)
            except OSError as error:
                return self._reject(path, f"cannot read {file}: {error.strerror}{advice}")
            except ValueError as error:
                return self._reject(path, f"cannot use {file}: {error}")
        if all(element(arm) is not None for arm in arms(type_)):
            return self._reject(
                path, f"{expected(type_)}; {{ {kind} }} gives one text: put it in the place of an element"
            )
        self._hidden.add(text)
        return self._scalar(type_, text, path, hidden=True, strict=False)

    def _reject(self, path: Path, message: str, instead: object = _BAD) -> Any:
        self._problems.append(self._document.problem(path, message))
        return instead

    def _redacted(self, message: str) -> str:
        for text in sorted(self._hidden, key=len, reverse=True):
            for written in (text, repr(text)[1:-1]):  # as it is, and as it stands in an error that quotes it
                message = message.replace(written, "***") if text else message
        return message


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return what to say of a key that is none of those that are known."""
    candidates = sorted(set(known))
    hint = suggest(key, candidates)
    if hint or not candidates:
        return f"no such option{hint}"
    return f"no such option; there are: {', '.join(candidates)}"


def required(type_: type[msgspec.Struct]) -> set[str]:
    """Return the keys without a default."""
    return {field.name for field in _fields(type_).values() if field.required}


@lru_cache(maxsize=256)  # a hundred sections may be of one plugin; not for ever, as classes may be loaded anew
def _fields(type_: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(type_)}


def _made(type_: Any, value: object, *, strict: bool) -> Any:
    plain = bare(type_)
    if plain in PARSED:
        return decode(plain, value)
    try:
        return msgspec.convert(value, type_, dec_hook=decode)
    except msgspec.ValidationError:
        if strict:
            raise
        return msgspec.convert(value, type_, dec_hook=decode, strict=False)


def _is_safe(type_: Any, value: object, *, hidden: bool) -> bool:
    """Return whether the error of an option type may be shown: some repeat parts of what they were given."""
    if type_ in (Regex, Url):
        return not hidden and not (type_ is Url and "@" in str(value))  # a URL's password
    return type_ in PARSED


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # Python smuggles other bytes through as lone surrogates
        return False
    return True


def _contents(file: File) -> str:
    with open(file, "rb") as stream:
        data = stream.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise ValueError("larger than 1 MiB")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None

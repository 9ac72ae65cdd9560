"""The types of plugins' options. Each is made from a TOML value, or says what would be right."""

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, SupportsFloat, SupportsIndex, SupportsInt, dataclass_transform
from urllib.parse import urlsplit

import msgspec


class _ConfigType(msgspec.StructMeta):
    """Makes every subclass keyword only, so that a required option may stand behind one that has a default.

    Refuses one that has a value without a type: nobody could configure it.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        made = super().__new__(cls, name, bases, namespace, **{"kw_only": True, **options})
        for key, value in vars(made).items():  # fields are descriptors by now, as methods and properties are
            if (
                key.startswith("_")
                or callable(value)
                or hasattr(type(value), "__get__")
                or isinstance(value, UnionType)
            ):
                continue
            if key not in inspect.get_annotations(made):  # else it is a ClassVar
                kind = "str" if value is None or hasattr(value, "default_factory") else type(value).__name__
                raise TypeError(f"{name}.{key} has no type: write `{key}: {kind} = …`")
        return made


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Config(msgspec.Struct, metaclass=_ConfigType, frozen=True, forbid_unknown_fields=True):
    """The options of a plugin: subclass it, and give each field a type, a default and a docstring.

    A field without a default is required. ``__post_init__`` may raise ``ValueError`` where options
    contradict each other.
    """

    def metric_names(self) -> Mapping[tuple[str, ...], str]:
        """Return the names of metrics that options give, by the keys that lead to each; ``{}`` where none do.

        A name that another plugin's metric has is an error of the configuration.
        """
        return {}


class Duration(float):
    """A length of time in seconds, written with its unit: ``"250ms"``, ``"15s"``, ``"5m"``, ``"1h30m"``, ``"7d"``.

    Made of such a text, or of a number of seconds. Raises ``ValueError`` where a text names none.
    """

    UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
    EXAMPLE = '"15s"'

    def __new__(cls, x: SupportsFloat | SupportsIndex | str = 0.0, /) -> "Duration":
        """Make one of a text, or of a number of seconds."""
        return cls.parse(x) if isinstance(x, str) else super().__new__(cls, x)

    @classmethod
    def parse(cls, text: object) -> "Duration":
        """Return the duration that a string such as ``"1h30m"`` names."""
        if isinstance(text, str) and re.fullmatch(r"([0-9]{1,12}(\.[0-9]+)?(ms|[smhdw]))+", text):
            parts = re.findall(r"([0-9.]+)(ms|[smhdw])", text)
            return cls(sum(float(number) * cls.UNITS[unit] for number, unit in parts))
        raise ValueError('expected a duration with its unit, such as "250ms", "15s" or "1h30m"')

    def __str__(self) -> str:
        if not self:
            return "0s"
        for unit, size in sorted(self.UNITS.items(), key=lambda item: -item[1]):
            if self % size == 0:
                return f"{self / size:.0f}{unit}"
        number, unit = (self / 0.001, "ms") if self < 1 else (float(self), "s")
        return f"{number:.15f}".rstrip("0").rstrip(".") + unit


class Size(int):
    """A number of bytes, written with its unit: ``"512KiB"``, ``"64MiB"``, ``"1GB"``.

    Made of such a text, or of a number. Raises ``ValueError`` where a text names none.
    """

    UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    EXAMPLE = '"64MiB"'

    def __new__(cls, x: SupportsInt | SupportsIndex | str = 0, /) -> "Size":
        """Make one of a text, or of a number of bytes."""
        return cls.parse(x) if isinstance(x, str) else super().__new__(cls, x)

    @classmethod
    def parse(cls, text: object) -> "Size":
        """Return the size that a string such as ``"64MiB"`` names."""
        match = re.fullmatch(r"([0-9]{1,18}(\.[0-9]+)?) ?([KMGT]i?B|B)", text) if isinstance(text, str) else None
        if match:
            number = float(match[1]) if match[2] else int(match[1])  # a float is not exact beyond 2**53
            return cls(number * cls.UNITS[match[3]])
        raise ValueError('expected a size with its unit, such as "512KiB" or "64MiB"')

    def __str__(self) -> str:
        for unit, size in sorted(self.UNITS.items(), key=lambda item: -item[1]):
            if self and self % size == 0:
                return f"{self // size}{unit}"
        return f"{int(self)}B"


class Regex:
    """A regular expression, searched for anywhere in a text; anchor it with ``^`` and ``$`` to match the whole."""

    __slots__ = ("_compiled", "pattern", "search")
    EXAMPLE = '"^eth[0-9]+$"'

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        """The expression as it was written."""
        self._compiled = re.compile(pattern)
        self.search: Callable[..., re.Match[str] | None] = self._compiled.search
        """As of a compiled expression of ``re``: the match in a text, or None."""

    @classmethod
    def parse(cls, text: object) -> "Regex":
        """Return the expression, or say at which position it is wrong."""
        if not isinstance(text, str):
            raise ValueError('expected a regular expression in quotes, such as "^eth[0-9]+$"')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "error", FutureWarning
                )  # [[:digit:]] is no class in Python, and matches otherwise
                return cls(text)
        except (re.error, OverflowError, RecursionError, FutureWarning) as error:
            raise ValueError(f"expected a regular expression: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __str__(self) -> str:
        return self.pattern

    def __repr__(self) -> str:
        return f"Regex({self.pattern!r})"


class Url(str):
    """An absolute URL: a scheme and a host (or, for a local one, a path)."""

    __slots__ = ()
    EXAMPLE = '"http://localhost:8080/"'

    @classmethod
    def parse(cls, text: object) -> "Url":
        """Return the URL where it has a scheme and something behind it."""
        if isinstance(text, str) and text.isprintable() and " " not in text:  # urlsplit passes over some of these
            try:
                parts = urlsplit(text)
                _ = parts.port  # raises where it is no number
                if parts.scheme and (parts.netloc or parts.path.strip("/")):
                    return cls(text)
            except ValueError as error:
                raise ValueError(f"expected a URL: {error}") from None
        raise ValueError('expected a URL with its scheme, such as "http://localhost:8080/"')


class Secret:
    """A text that is never printed, logged or served. ``reveal()`` returns it where it is needed."""

    __slots__ = ("_text",)
    EXAMPLE = '{ file = "/run/credentials/agentd.service/name" }'

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def parse(cls, text: object) -> "Secret":
        """Return the secret; what was found instead of a text is not repeated in the error."""
        if not isinstance(text, str):
            raise ValueError('expected a text, or better { file = "PATH" } or { env = "NAME" }')
        return cls(text)

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


PARSED: tuple[type[Any], ...] = (Duration, Size, Regex, Url, Secret)
"""The option types that are made from a text by their ``parse``."""


def decode(type_: type[Any], value: object) -> object:
    """Make an option of one of the types above from a TOML value: msgspec's ``dec_hook``. Raises ``ValueError``."""
    if type_ in PARSED:
        return value if isinstance(value, type_) else type_.parse(value)
    raise NotImplementedError(f"options of type {type_!r} are not supported")

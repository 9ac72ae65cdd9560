"""Which line of a TOML file each key is on: the parser tells values, an error needs to name the place.

Written for source that the parser has already accepted, so it looks only for where things begin and end
(TOML 1.1, https://toml.io/en/v1.1.0).
"""

import re
from bisect import bisect_left
from contextlib import suppress

import tomli

# Groups are not possessive, only what is in them: Python 3.11.2, which is Debian's, finds wrong ends for `(?:…)*+`.
_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*")
_SPACE = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*"|'[^'\n]*+'""")
_SCALAR = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*"""(?:"{0,2})'  # up to two quotes may stand before the three that end it
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]++|\\.)*"'
    r"|'[^'\n]*+'"
    r"|\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]++"  # a date and a time with a space between them
    r"|[^\s,\]}#]++",
    re.DOTALL,
)


def find_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, of each table, key and element of an array, by its path.

    An element's part of the path is its index: ``("exporters", "prometheus", "rules", "0", "action")``. A table has the
    line of its header, or of the first key that implies it. Of source that is not valid, or nested hundreds deep,
    returns what was found up to there.
    """
    scanner = _Scanner(text)
    with suppress(ValueError, RecursionError):
        scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self._text = text
        self._pos = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._last: dict[tuple[str, ...], int] = {}  # array of tables -> the index of its last one so far

    def document(self) -> None:
        table: tuple[str, ...] = ()
        while self._next():
            if self._take("[["):
                table = self._header(self._keys(), array=True)
                self._expect("]]")
            elif self._take("["):
                table = self._header(self._keys(), array=False)
                self._expect("]")
            else:
                self._pair(table)

    def _header(self, keys: tuple[str, ...], *, array: bool) -> tuple[str, ...]:
        line = self._line()
        path: tuple[str, ...] = ()
        for key in keys[:-1]:
            path += (key,)
            self.lines.setdefault(path, line)
            if path in self._last:
                path += (str(self._last[path]),)
        path += keys[-1:]
        if not array:
            self.lines[path] = line
            return path
        self.lines.setdefault(path, line)
        self._last[path] = self._last.get(path, -1) + 1
        path += (str(self._last[path]),)
        self.lines[path] = line
        return path

    def _pair(self, table: tuple[str, ...]) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path += (key,)
            self.lines.setdefault(path, line)
        self._expect("=")
        self._match(_SPACE)
        self._value(path)

    def _value(self, path: tuple[str, ...]) -> None:
        if self._take("["):
            index = 0
            while not (self._next() == "]" and self._take("]")):
                element = (*path, str(index))
                self.lines[element] = self._line()
                self._value(element)
                index += 1
                self._next()
                self._take(",")
        elif self._take("{"):
            while not (self._next() == "}" and self._take("}")):
                self._pair(path)
                self._next()
                self._take(",")
        else:
            self._match(_SCALAR)

    def _keys(self) -> tuple[str, ...]:
        keys = [self._key()]
        while self._take("."):
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> str:
        self._match(_SPACE)
        key = self._match(_KEY)
        self._match(_SPACE)
        if key[0] == "'":
            return key[1:-1]
        if key[0] == '"':
            return str(tomli.loads(f"key = {key}")["key"]) if "\\" in key else key[1:-1]
        return key

    def _next(self) -> str:
        """Skip blanks and comments, and return the character behind them, or nothing at the end."""
        self._match(_BLANK)
        return self._text[self._pos : self._pos + 1]

    def _take(self, mark: str) -> bool:
        if self._text.startswith(mark, self._pos):
            self._pos += len(mark)
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise ValueError(f"expected {mark} in line {self._line()}")

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._pos)
        if match is None:
            raise ValueError(f"not understood: line {self._line()}")
        self._pos = match.end()
        return match[0]

    def _line(self) -> int:
        return bisect_left(self._breaks, self._pos) + 1

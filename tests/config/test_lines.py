"""The lines of keys in TOML source, held against what the parser finds in it."""

from itertools import count

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.lines import find_lines

DECOYS = ("decoy = 1", "[decoy]", "#", "{ decoy = 1 }", "]", "}", "\\\\", "=", ",", "é")
"""What looks like TOML, to stand in strings and comments."""


def test_tables_keys_and_elements():
    """Headers, keys, dotted keys, arrays over several lines and inline tables each have their own line."""
    text = """\
# a comment
top = 1

[web]
listen = [   # several lines
  ":1",

  ":2" ]
limits . "max size" = { a = 1,
  b.c = 2 }

[[web.users]]
name = 'a'
[[web.users]]
"name" = "b"
  [web.users.more]
  x = 1
"""
    assert find_lines(text) == {
        ("top",): 2,
        ("web",): 4,
        ("web", "listen"): 5,
        ("web", "listen", "0"): 6,
        ("web", "listen", "1"): 8,
        ("web", "limits"): 9,
        ("web", "limits", "max size"): 9,
        ("web", "limits", "max size", "a"): 9,
        ("web", "limits", "max size", "b"): 10,
        ("web", "limits", "max size", "b", "c"): 10,
        ("web", "users"): 12,
        ("web", "users", "0"): 12,
        ("web", "users", "0", "name"): 13,
        ("web", "users", "1"): 14,
        ("web", "users", "1", "name"): 15,
        ("web", "users", "1", "more"): 16,
        ("web", "users", "1", "more", "x"): 17,
    }


@pytest.mark.parametrize(
    "value",
    [
        '"""\na = 1\n"""',
        '"""one"""',
        '""""quoted"""""',
        '"""a \\""" b = 1\n"""',
        "'''\n[c]\n'''",
        "'''it''''",
        '"a # b"',
        "'\\'",
        "1979-05-27 07:32:00Z",
        "1979-05-27",
        "07:32:00",
        "-inf",
        "1_000.5e-3",
        "[[1, 2], [], [\n[ 'x' ] ] , ]",
        "{}",
        "{ a = [ { b = '}' } ] , c = ']' }",
        "true # ] }",
    ],
)
def test_a_value_ends_where_it_ends(value):
    """Whatever a value holds, the key behind it has its line."""
    text = f"before = {value}\nafter = 1\n"
    assert tomli.loads(text)["after"] == 1
    assert find_lines(text)[("after",)] == text.count("\n")


def test_an_explicit_header_goes_before_an_implied_one():
    """A table that a deeper header implies has its own header's line once there is one."""
    assert find_lines("[a.b]\n\n[a]\n") == {("a",): 3, ("a", "b"): 1}


def test_keys_with_escapes():
    """The path has the key as the parser reads it."""
    assert find_lines('"a\\u0062\\t" = 1\n"c\\"" = 2') == {("ab\t",): 1, ('c"',): 2}


def test_line_breaks_of_windows():
    """CRLF is one line break, inside of strings too."""
    assert find_lines('a = 1\r\nb = """\r\n"""\r\nc = 2\r\n') == {("a",): 1, ("b",): 2, ("c",): 4}


def test_source_that_is_not_valid_gives_what_was_found_before():
    """What comes before the place that is not understood is there."""
    assert find_lines("a = 1\nb = \nc = 3") == {("a",): 1, ("b",): 2}
    assert find_lines('a = 1\n"b') == {("a",): 1}
    assert find_lines("a = " + "[" * 5000)[("a",)] == 1


def blank(draw, *, breaks):
    parts = ["", " ", "\t"] + (["\n", "\r\n", " # ] decoy = 1\n"] if breaks else [])
    return "".join(draw(st.lists(st.sampled_from(parts), max_size=2)))


def key(draw, numbers):
    name = f"k{next(numbers)}_"
    plain, odd = name, name + draw(st.sampled_from(["", " ", ".", "#", "=", "[", "}"]))
    return draw(st.sampled_from([plain, f'"{odd}"', f"'{odd}'"]))


def keys(draw, numbers):
    parts = [key(draw, numbers) for _ in range(draw(st.integers(1, 3)))]
    return parts[0] + "".join(f"{blank(draw, breaks=False)}.{blank(draw, breaks=False)}{part}" for part in parts[1:])


def value(draw, numbers, depth=0):
    kind = draw(st.integers(0, 5 if depth < 3 else 3))
    decoy = " ".join(draw(st.lists(st.sampled_from(DECOYS), max_size=3)))
    if kind == 0:
        return draw(st.sampled_from(["1", "true", "-1.5e3", "1979-05-27 07:32:00", "inf"]))
    if kind == 1:
        return f'"{decoy}"'
    if kind == 2:
        return "'" + decoy + "'"
    if kind == 3:
        lines = decoy.replace(" ", "\n")
        return draw(st.sampled_from([f'"""{lines}"""', f"'''{lines}'''", f'"""{lines}"" x"""', f"'''{lines}''''"]))
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        inner = value(draw, numbers, depth + 1)
        inner = inner if kind == 4 else f"{keys(draw, numbers)} = {inner}"
        parts.append(blank(draw, breaks=True) + inner + blank(draw, breaks=True))
    return ("[{}]" if kind == 4 else "{{{}}}").format(",".join(parts))


@st.composite
def sources(draw):
    """Return TOML in which every key is another, but for arrays of tables, which have several elements."""
    numbers = count()
    lines = []
    for _ in range(draw(st.integers(1, 5))):
        header = keys(draw, numbers)
        kind = draw(st.sampled_from(["root", "table", "array"])) if lines else "root"
        for _ in range(draw(st.integers(1, 3)) if kind == "array" else 1):
            lines.append({"root": "# root", "table": f"[{header}]", "array": f"[[ {header} ]] # decoy"}[kind])
            lines += (
                f"{blank(draw, breaks=True)}{keys(draw, numbers)} = {value(draw, numbers)}"
                for _ in range(draw(st.integers(0, 3)))
            )
            if kind == "array" and draw(st.booleans()):
                lines.append(f"[{header}.{key(draw, numbers)}]")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + "\n"


def paths(tree, path=()):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, inner in items:
        yield (*path, str(name))
        yield from paths(inner, (*path, str(name)))


@given(sources())
@settings(max_examples=100, deadline=None)
def test_every_path_of_the_parser_has_the_line_that_names_it(text):
    """Keys here are distinct, so a line that contains one can only be the right one; elements follow their array."""
    tree = tomli.loads(text)
    lines = find_lines(text)
    source = text.split("\n")
    assert set(lines) == set(paths(tree))
    for path, line in lines.items():
        if path[-1].isdecimal():
            index = int(path[-1])
            before = lines[(*path[:-1], str(index - 1))] if index else lines[path[:-1]]
            assert line >= before
        else:
            assert path[-1] in source[line - 1]


@given(st.text(st.sampled_from("ab.='\"[]{},#\\\n\r 1é"), max_size=60) | st.text())
@settings(max_examples=100, deadline=None)
def test_any_text_comes_to_an_end(text):
    """Nothing is raised for what is no TOML, and every line is one of the text's."""
    for line in find_lines(text).values():
        assert 1 <= line <= text.count("\n") + 1

"""The public interface is listed, and what was there once is there still."""

import ast
import inspect
import json
import runpy
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd import plugin
from agentd.plugin import API_VERSION
from agentd.plugin.deprecated import NAMES

ROOT = Path(__file__).parents[2]
INTERFACE = runpy.run_path(str(ROOT / "docs" / "interface.py"))
broken = INTERFACE["broken"]
KEPT = sorted(
    file for file in (ROOT / "tests/fixtures/api").glob("*.json") if file.stem.split(".")[0] == str(API_VERSION[0])
)


def of(function):
    """Return what is written down of a function."""
    return INTERFACE["parameters"](function)


def test_this_version_is_written_down():
    """All that is public now is in the file of this version, which is what later ones are compared with."""
    now = INTERFACE["listing"]()
    kept = json.loads((ROOT / "tests/fixtures/api" / INTERFACE["name_of_file"]()).read_text())
    assert now.keys() <= kept.keys(), "run `make docs`"
    assert {"Collector", "Collector.collect", "Sink.send", "Plugin.emit", "hookimpl", "Duration.parse"} <= now.keys()
    assert kept["Plugin.emit"][-1] == ["target", "KEYWORD_ONLY", False]


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_what_was_public_works_as_it_did(file):
    """Of each version with this first number: every name is there, if only as one that is deprecated, and can be called
    as then.

    Where this fails, something was taken away or changed. Deprecate it instead: a name in NAMES of
    agentd/plugin/deprecated.py, a method by its decorator.
    """
    assert list(broken(json.loads(file.read_text()), INTERFACE["listing"]() | deprecated())) == []


def deprecated():
    """Return the listing of the names that are deprecated."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in NAMES:
            value = getattr(plugin, name)
            found[name] = of(value)
            if isinstance(value, type):
                found |= {
                    f"{name}.{member}": of(getattr(value, member, None)) for member in INTERFACE["members"](value)
                }
    return found


CHANGES = {
    "gone": (lambda a: a, None, "is gone"),
    "renamed parameter": (lambda a: a, lambda b: b, "parameter a is gone"),
    "another order": (lambda a, b: a, lambda b, a: a, "another order"),
    "must be given": (lambda a=1: a, lambda a: a, "a has to be given now"),
    "new and required": (lambda a: a, lambda a, b: a, "new parameter b has to be given"),
    "takes from the rest": (lambda a, *rest: a, lambda a, b=1, *rest: a, "new parameter b takes what others took"),
    "keyword only": (lambda a=1: a, lambda *, a=1: a, "another kind"),
    "no function any more": (lambda a: a, 5, "cannot be called"),
}


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_signature_is_found(old, new, expected):
    """Each change that a plugin would notice is named."""
    now = {} if new is None else {"f": of(new)}
    assert expected in " ".join(broken({"f": of(old)}, now))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lambda a: a, lambda a, b=1: a),
        (lambda a: a, lambda a, *, b=1: a),
        (lambda a: a, lambda a=1: a),
        (lambda a: a, lambda a, **more: a),
    ],
)
def test_what_is_added_is_no_change(old, new):
    """A parameter that may be left out, and one that need no longer be given, disturb nobody."""
    assert list(broken({"f": of(old)}, {"f": of(new), "g": None})) == []


KINDS = [kind for kind in inspect._ParameterKind if kind.name != "POSITIONAL_ONLY"]  # the interface has none of these
PARAMETER = st.tuples(st.sampled_from("abc"), st.sampled_from(KINDS), st.booleans())


@st.composite
def functions(draw):
    """Draw a signature."""
    found = {}
    for name, kind, default in draw(st.lists(PARAMETER, max_size=4, unique_by=lambda each: each[0])):
        value = 1 if default and "VAR" not in kind.name else inspect.Parameter.empty
        found[name] = inspect.Parameter(name, kind, default=value)
    try:
        return inspect.Signature(sorted(found.values(), key=lambda each: each.kind))
    except ValueError:  # one without a default behind one that has it, say
        return inspect.Signature()


def calls(signature):
    """Return, of some calls, those that a signature takes: numbers of positional arguments, and names of the others."""
    taken = set()
    for count in range(4):
        for names in ("", "a", "b", "c", "ab", "ac", "bc", "abc"):
            try:
                signature.bind(*range(count), **dict.fromkeys(names, 0))
            except TypeError:
                continue
            taken.add((count, names))
    return taken


@settings(max_examples=200, deadline=None)
@given(functions(), functions())
def test_a_signature_that_is_found_alike_takes_the_same_calls(old, new):
    """Where nothing is found changed, all calls that worked still work."""

    def listed(signature):
        return [[name, each.kind.name, INTERFACE["is_required"](each)] for name, each in signature.parameters.items()]

    if not list(broken({"f": listed(old)}, {"f": listed(new)})):
        assert calls(old) <= calls(new)


def test_every_public_name_is_on_the_page():
    """docs/api.md has each name, each class with what it means, and each method of it with its signature."""
    page = (ROOT / "docs/api.md").read_text()
    for name in plugin.__all__:
        assert f"\n## {name}\n" in page or f"\n- `{name}" in page, name
    for section in page.split("\n## ")[1:-2]:
        lines = section.splitlines()
        assert lines[4].strip(), f"{lines[0]} has no docstring"
        assert not lines[4].startswith("- `"), f"{lines[0]} has no docstring"
    assert "- `send(self, events: Sequence[Record]) -> Awaitable[None] | None`: Deliver events" in page


def test_attributes_are_shown_as_such():
    """Properties, cached ones too, and what ``__init__`` sets stand on the page with type and meaning, not as calls."""
    page = (ROOT / "docs/api.md").read_text()
    record = page.partition("\n## Record\n")[2].partition("\n## ")[0]
    listed = {"Record.seq", "Record.type", "Record.source", "Record.json", "Record.event", "Sink.log"}
    assert listed <= INTERFACE["listing"]().keys()
    for line in (
        "- `seq: int`: Its place in the order",
        "- `type: str`: What",
        "- `source: str`: Who",
        "- `json: bytes`: The whole envelope",
        "- `event: Event`: The event itself.",
        "- `id: str`: The event's id",
    ):
        assert f"\n{line}" in record, line
    assert "event(self)" not in record


class Attributes:
    """Sets attributes in each way."""

    def __init__(self, given: int, other: str = "") -> None:
        self.given = given
        """What was given."""
        self.made: list[str] = [other]
        self._hidden = 1


class Untyped:
    """Has an attribute of which nobody knows the type."""

    def __init__(self) -> None:
        self.made = [1]


def test_attributes_of_a_class():
    """An attribute has the type of the parameter that it is set to, or its own; without either it is named."""
    found = INTERFACE["attributes"](Attributes)
    assert {name: (ast.unparse(node), doc) for name, (node, doc) in found.items()} == {
        "given": ("given: int", "What was given."),
        "made": ("made: list[str]", ""),
    }
    with pytest.raises(ValueError, match=r"Untyped\.made is public: its assignment in __init__ needs a type"):
        INTERFACE["attributes"](Untyped)

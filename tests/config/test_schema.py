"""The schema for editors says what the agent would say, as far as a schema can."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from agentd.cli.config import entries
from agentd.config import ConfigError, Document, resolve
from agentd.config.convert import to_fields
from agentd.config.describe import schema
from agentd.config.resolve import KEYS, NAMES
from agentd.config.settings import SECTIONS, Switches
from agentd.config.wording import bounds
from agentd.metrics.rules import Rule
from agentd.options import PARSED, Config, Duration, Regex, Secret, Size, Url
from agentd.registry import Registry

ROOT = Path(__file__).parents[2]


class Options(Config):
    """Options of a plugin."""

    url: Url
    """Where to ask."""
    pause: Duration = Duration(90)
    """How long to wait.

    Longer than ``5s``
    is wise."""
    devices: Regex | None = None
    size: Size = Size(2048)
    words: list[str] = msgspec.field(default_factory=lambda: ["a"])
    level: Literal["low", "high"] = "low"
    """How much."""
    headers: dict[str, Secret] = {}
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    rules: list[Rule] = []
    either: list[str] | str = "a"
    renamed: bool = msgspec.field(default=False, name="called-otherwise")


class Tree(Config):
    name: str
    branches: list["Tree"] = []


class Lengths(Config):
    text: Annotated[str, msgspec.Meta(min_length=1, pattern="^a")] = "a"
    items: Annotated[list[int], msgspec.Meta(max_length=3)] = []
    table: Annotated[dict[str, int], msgspec.Meta(min_length=0)] = {}


ENTRIES = [
    ("collectors", "cpu", "Time of each CPU.\n\nMore about it.", Config),
    ("collectors", "http", "Asks a server for ``JSON``.", Options),
]
REFERENCE = {"$ref": "#/definitions/reference"}
OR_REFERENCE = {"if": {"type": "object"}, "then": REFERENCE}


@cache
def bundled():
    """Return a registry of the bundled plugins, and what checks by their schema."""
    registry = Registry()
    made = schema(entries(registry))
    Draft7Validator.check_schema(made)
    return registry, Draft7Validator(made)


def as_json(value):
    """Return a TOML value as the JSON that an editor hands to its validator."""
    return json.loads(json.dumps(value, default=lambda moment: moment.isoformat()))


def test_the_schema():
    """Sections, sections of any name, reserved keys, references, and the types of options."""
    made = schema(iter(ENTRIES))
    Draft7Validator.check_schema(made)
    assert msgspec.json.decode(msgspec.json.encode(made)) == made
    assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert set(made["properties"]) == {*SECTIONS, *KEYS}
    assert made["additionalProperties"] is False
    collectors = made["properties"]["collectors"]
    assert set(collectors["properties"]) == {"enable", "disable", "cpu", "http"}
    assert collectors["properties"]["http"] == {"$ref": "#/definitions/collectors.http"}
    assert collectors["additionalProperties"] == {"$ref": "#/definitions/collectors"}
    own = made["definitions"]["collectors"]
    assert own["required"] == ["plugin"]
    assert own["properties"]["plugin"]["anyOf"][0]["enum"] == ["cpu", "http"]
    assert own["dependencies"]["plugin"]["allOf"][1] == {
        "if": {"properties": {"plugin": {"const": "http"}}},
        "then": {"$ref": "#/definitions/collectors.http"},
    }
    http = made["definitions"]["collectors.http"]
    assert http["title"] == "[collectors.http]"
    assert http["description"] == "Asks a server for `JSON`."
    assert http["else"] == {"required": ["url"]}
    assert http["additionalProperties"] is False
    options = http["properties"]
    assert options["pause"] == {
        "type": ["string", "object"],
        "pattern": "^([0-9]{1,12}(\\.[0-9]+)?(ms|[smhdw]))+$",
        "examples": ["15s"],
        "description": "How long to wait.\n\nLonger than `5s` is wise.",
        "default": "90s",
        **OR_REFERENCE,
    }
    assert options["url"]["format"] == "uri"
    assert options["level"] == {
        "anyOf": [{"description": "How much.", "enum": ["low", "high"]}, REFERENCE],
        "description": "How much.",
        "default": "low",
    }
    assert options["port"] == {
        "type": ["integer", "object"], "minimum": 1, "maximum": 65535, "default": 80, **OR_REFERENCE
    }  # fmt: skip
    assert options["words"]["items"] == {"type": ["string", "object"], **OR_REFERENCE}
    assert options["words"]["default"] == ["a"]
    assert options["headers"]["additionalProperties"] == {"type": ["string", "object"], **OR_REFERENCE}
    assert options["either"]["anyOf"][2] == REFERENCE
    assert options["rules"]["items"]["required"] == ["action"]
    assert "called-otherwise" in options
    assert options["max_series"] == {"$ref": "#/definitions/collectors:max_series"}
    assert "default" not in made["definitions"]["collectors:max_series"]


def test_limits_of_length_in_the_schema():
    """Lengths are named after what they limit."""
    properties = schema([("collectors", "x", "", Lengths)])["definitions"]["collectors.x"]["properties"]
    assert properties["text"] == {
        "type": ["string", "object"], "minLength": 1, "pattern": "^a", "default": "a", **OR_REFERENCE
    }  # fmt: skip
    assert properties["items"]["maxItems"] == 3
    assert properties["table"]["minProperties"] == 0


def test_a_table_that_has_tables_of_its_own_kind():
    """A type of options that contains itself is described as far as it goes, and no endless task."""
    made = schema([("collectors", "x", "", Tree)])
    check = Draft7Validator(made)
    assert check.is_valid({"collectors": {"x": {"name": "a", "branches": [{"name": "b", "branches": []}]}}})
    assert not check.is_valid({"collectors": {"x": {"name": "a", "branches": [1]}}})


def test_a_plugin_that_cannot_be_loaded_may_have_any_options():
    """Nobody knows them, so that nothing of its section is underlined, whatever the section's name."""
    check = Draft7Validator(schema(ENTRIES, [("sinks", "broken")]))
    assert check.is_valid({"sinks": {"broken": {"any": 1}, "mine": {"plugin": "broken", "any": [2]}}})
    assert not check.is_valid({"sinks": {"brokne": {"any": 1}}})
    assert not check.is_valid({"sinks": {"broken": 1}})


def texts():
    """Yield the configurations in the documents, in etc/ and in the tests, each with the file that it is in."""
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for text in re.findall(r"^```toml\n(.*?)^```$", file.read_text(), flags=re.MULTILINE | re.DOTALL):
            yield file, text
    for file in sorted({*(ROOT / "etc").rglob("*.toml"), *(ROOT / "tests").rglob("*.toml")}):
        yield file, file.read_text()
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[" in node.value:
                yield file, node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "1" for part in node.values)
                yield file, "".join(parts)


def configurations():
    """Yield what is a configuration among these texts, and is one that the agent takes with the bundled plugins."""
    registry, _ = bundled()
    for file, text in texts():
        try:
            table = tomli.loads(text)
        except (ValueError, RecursionError):
            continue
        if not table or not table.keys() <= set(NAMES):
            continue
        try:
            resolve(Document(table), registry)
        except ConfigError:
            continue
        yield file, table


def test_every_configuration_of_the_project_validates(monkeypatch):
    """What stands in the documents, in etc/ and in the tests, and is right for the agent, is right by the schema."""
    for name in ("REDIS_PASSWORD", "HOSTNAME", "SIZE"):
        monkeypatch.setenv(name, "1MiB")
    _, check = bundled()
    found = list(configurations())
    wrong = [
        (str(file.relative_to(ROOT)), error.json_path, error.message)
        for file, table in found
        for error in check.iter_errors(as_json(table))
    ]
    assert wrong == []
    assert len(found) > 50
    assert {file.suffix for file, _ in found} == {".md", ".toml", ".py"}


MISTAKES = {
    "an unknown section": {"wbe": {}},
    "an unknown key of the core": {"web": {"listne": []}},
    "an unknown kind of value": {"web": {"listen": "127.0.0.1:9797"}},
    "an unknown option": {"collectors": {"cpu": {"nonsense": 1}}},
    "an option of another plugin": {"sinks": {"mine": {"plugin": "log", "url": "redis://localhost/"}}},
    "no plugin of this name": {"collectors": {"uncpu": {}}},
    "a plugin that there is not": {"collectors": {"mine": {"plugin": "uncpu"}}},
    "a name that is none": {"collectors": {"a b": {"plugin": "cpu"}}},
    "what is required": {"sinks": {"redis": {}}},
    "what is required in a section of its own name": {"sinks": {"fleet": {"plugin": "redis"}}},
    "not one of the choices": {"agent": {"log_level": "loud"}},
    "a duration without a unit": {"collectors": {"cpu": {"interval": 5}}},
    "a size without a unit": {"journal": {"memory": "64"}},
    "less than the least": {"collectors": {"cpu": {"max_series": 0}}},
    "a reference to nothing": {"agent": {"log_level": {"evn": "LEVEL"}}},
    "a reference in place of a list": {"web": {"trusted_proxies": {"env": "PROXIES"}}},
    "a table for a word": {"collectors": {"enable": {"cpu": True}}},
    "a word for a section": {"collectors": {"cpu": True}},
    "no action": {"exporters": {"prometheus": {"rules": [{"name": "x"}]}}},
}


@pytest.mark.parametrize("table", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_by_both(table):
    """What ``agentd check`` refuses is refused by the schema as well; what is right is right for both."""
    registry, check = bundled()
    assert check.is_valid({"collectors": {"mine": {"plugin": "cpu", "interval": "5s"}}})
    with pytest.raises(ConfigError):
        resolve(Document(table), registry)
    assert not check.is_valid(as_json(table))


def test_what_is_switched_off_need_not_be_whole():
    """A section that is not enabled lacks what is required, as the agent allows it, and has no unknown keys."""
    registry, check = bundled()
    table = {"sinks": {"redis": {"enabled": False}, "mine": {"plugin": "redis", "enabled": False}}}
    resolve(Document(table), registry)
    assert check.is_valid(table)
    assert not check.is_valid({"sinks": {"redis": {"enabled": False, "nonsense": 1}}})


VALUES = (
    True, 0, 1, -1, 70000, 1.5, "", "x", "15s", "1h30m", "15", "64MiB", "64 MiB", "64M", "http://localhost/x",
    "http//x", "now", "1.2.3", [], ["x"], [1], [["x"]], [{}], [True], {}, {"x": "x"}, {"x": 1}, {"file": 1},
    {"env": "AGENTD_TEST"}, {"env": "AGENTD_TEST", "file": "x"},
)  # fmt: skip
"""Of each type that TOML has, and of each that options have, some that are right for it and some that are not."""


OF_TYPES = re.compile("^expected|^no such|^required")
"""How all begins that is said of types; what else is said is of options that contradict each other."""
OF_REFERENCES = re.compile("gives one text|^no such|; found|^expected a table")
"""What is said of a reference that must not be there, and not of the text behind it."""


def places():
    """Yield each option that there is: where the schema describes it, and the class that declares it."""
    registry, check = bundled()
    definitions = check.schema["definitions"]
    for kind, name, _, type_ in entries(registry):
        for field in msgspec.structs.fields(type_):
            yield definitions[f"{kind}.{name}"]["properties"][field.encode_name], type_, field
    for kind, keys in KEYS.items():
        for field in msgspec.structs.fields(keys):
            yield definitions[f"{kind}:{field.encode_name}"], keys, field
        for field in msgspec.structs.fields(Switches):
            yield check.schema["properties"][kind]["properties"][field.encode_name], Switches, field
    for name, type_ in SECTIONS.items():
        for field in msgspec.structs.fields(type_):
            yield check.schema["properties"][name]["properties"][field.encode_name], type_, field


def by_the_agent(type_, field, value):
    """Return what the agent finds wrong with a value of an option."""
    problems = []
    to_fields(type_, {field.encode_name: value}, (), Document(), problems)
    return [problem for problem in problems if re.split(r"[.\[]", problem.key)[0] == field.encode_name]


def test_a_wrong_type_is_refused_for_each_option(monkeypatch):
    """For every option of the core and of every bundled plugin, values of all types: what the agent refuses for its
    type, the schema refuses, and the other way round.
    """
    monkeypatch.setenv("AGENTD_TEST", "\n")  # right for nothing but a text
    _, check = bundled()
    differing = []
    seen = 0
    for described, type_, field in places():
        one = check.evolve(schema={**described, "definitions": check.schema["definitions"]})
        for value in VALUES:
            problems = by_the_agent(type_, field, value)
            about = OF_REFERENCES if value == {"env": "AGENTD_TEST"} else OF_TYPES
            refused = any(about.search(problem.message) for problem in problems)
            seen += 1
            if refused == one.is_valid(value):
                differing.append((type_.__qualname__, field.encode_name, value, [each.message for each in problems]))
    assert differing == []
    assert seen > 5000


def pattern(type_):
    """Return the pattern that the schema has for a type of options."""

    class One(Config):
        value: type_

    return schema([("collectors", "x", "", One)])["definitions"]["collectors.x"]["properties"]["value"]["pattern"]


PATTERNS = {type_: re.compile(pattern(type_), re.ASCII) for type_ in PARSED if type_ not in (Regex, Secret)}
ODD = ("15s", "1h30m", "1.5d", "15", "s", "1.s", "64MiB", "64 MiB", "64M", "1B", "1iB", "-1s", "", ":", "a:/", "a b:/")


@pytest.mark.parametrize("type_", PATTERNS)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_patterns_of_the_schema_agree_with_the_parsers(type_, data):
    """A duration or a size that the agent accepts, an editor does not underline, and the other way round; and no URL
    that the agent accepts is underlined.
    """
    found = PATTERNS[type_]
    text = data.draw(st.from_regex(found, fullmatch=True) | st.sampled_from(ODD) | st.text())
    try:
        type_.parse(text)
    except ValueError:
        assert type_ is Url or not found.search(text) or text.endswith("\n")
    else:
        assert found.search(text)


def test_no_option_has_limits_that_its_text_does_not_have():
    """Bounds of numbers stand at numbers alone: at a duration, which is text, a schema would not mind them."""
    for _, type_, field in places():
        if bounds(field.type):
            assert field.type.__origin__ not in PARSED, f"{type_.__qualname__}.{field.name}"

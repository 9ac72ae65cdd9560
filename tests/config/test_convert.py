"""Tables -> structs: every error at once, in exact words, and no secret in any of them."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config.convert import to_fields, to_struct
from agentd.config.lines import find_lines
from agentd.config.problems import Origin, Problem
from agentd.config.source import Document
from agentd.metrics.rules import Rule
from agentd.options import Config, Duration, Regex, Secret, Size, Url

CANARY = "kanarienvogel"


class Inner(Config):
    a: int
    b: str = ""


class Options(Config):
    on: bool = False
    count: int = 0
    ratio: float = 0.5
    name: str = ""
    pause: Duration = Duration(5)
    size: Size | None = None
    devices: Regex | None = None
    url: Url | None = None
    password: Secret | None = None
    level: Literal["low", "high"] = "low"
    words: tuple[str, ...] = ()
    pauses: list[Duration] = []
    secrets: list[Secret] = []
    headers: dict[str, Secret] = {}
    labels: dict[str, str] = {}
    rules: list[Rule] = []
    inner: Inner | None = None
    some: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2)] | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    mixed: int | list[int] = 0
    pair: tuple[int, int] = (0, 0)
    anything: Any = None


def converted(text, type_=Options, **keywords):
    """Convert TOML below ``[x]``; return the struct and the problems as texts."""
    source = "[x]\n" + text
    origins = {path: Origin("f", line) for path, line in find_lines(source).items()}
    document = Document(tomli.loads(source), origins)
    problems: list[Problem] = []
    struct = to_struct(type_, document.values["x"], ("x",), document, problems, **keywords)
    assert (struct is None) == bool(problems)
    return struct, [str(problem) for problem in problems]


def test_every_type_of_option():
    """Each type of option is made from what TOML has for it."""
    struct, problems = converted(
        """
        on = true
        count = 3
        ratio = 1
        name = "a"
        pause = "1h30m"
        size = "2KiB"
        devices = '^eth\\d$'
        url = "http://localhost/"
        password = "p"
        level = "high"
        words = ["a", "b"]
        pauses = ["1s", "2m"]
        secrets = ["s"]
        headers = { Authorization = "h" }
        labels = { env = "prod" }
        rules = [{ action = "drop", name = "a", labels = { file = "x" } }]
        inner = { a = 1 }
        some = ["x"]
        port = 443
        mixed = [1]
        pair = [1, 2]
        anything = { env = 1 }
        """
    )
    assert problems == []
    assert struct == Options(
        on=True,
        count=3,
        ratio=1.0,
        name="a",
        pause=Duration(5400),
        size=Size(2048),
        devices=Regex(r"^eth\d$"),
        url=Url("http://localhost/"),
        password=Secret("p"),
        level="high",
        words=("a", "b"),
        pauses=[Duration(1), Duration(120)],
        secrets=[Secret("s")],
        headers={"Authorization": Secret("h")},
        labels={"env": "prod"},
        rules=[Rule(action="drop", name="a", labels={"file": "x"})],
        inner=Inner(a=1),
        some=["x"],
        port=443,
        mixed=[1],
        pair=(1, 2),
        anything={"env": 1},
    )
    assert type(struct.pause) is Duration
    assert type(struct.ratio) is float


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("on = 1", "x.on: expected true or false; found 1"),
        ("count = 1.5", "x.count: expected a whole number; found 1.5"),
        ("count = true", "x.count: expected a whole number; found true"),
        ('ratio = "abc"', 'x.ratio: expected a number; found "abc"'),
        ("name = 15", "x.name: expected a string; found 15"),
        ("name = 1979-05-27", "x.name: expected a string; found 1979-05-27"),
        (
            "pause = 15",
            'x.pause: expected a duration with its unit, such as "250ms", "15s" or "1h30m"; found 15',
        ),
        ('size = "64"', 'x.size: expected a size with its unit, such as "512KiB" or "64MiB"; found "64"'),
        (
            "devices = '(a'",
            'x.devices: expected a regular expression: missing ), unterminated subpattern at position 0; found "(a"',
        ),
        (
            'url = "localhost"',
            'x.url: expected a URL with its scheme, such as "http://localhost:8080/"; found "localhost"',
        ),
        (
            f'size = "{"9" * 400}B"',
            f'x.size: expected a size with its unit, such as "512KiB" or "64MiB"; found "{"9" * 56}...',
        ),
        (
            'devices = "a{99999999999999999999}"',
            (
                "x.devices: expected a regular expression: the repetition number is too large"
                '; found "a{99999999999999999999}"'
            ),
        ),
        ("password = 5", 'x.password: expected a text, or better { file = "PATH" } or { env = "NAME" }'),
        ('level = "hihg"', 'x.level: expected one of "low", "high"; found "hihg". Did you mean "high"?'),
        ("words = 'a'", 'x.words: expected a list of strings; found "a"'),
        ("words = ['a', 1]", "x.words[1]: expected a string; found 1"),
        ("labels = { a = 1 }", "x.labels.a: expected a string; found 1"),
        ("labels = 1", "x.labels: expected a table of strings; found 1"),
        ("name = { a = 1 }", "x.name: expected a string; found a table"),
        ("rules = [{ name = 'a' }]", 'x.rules[0].action: required, and not set; for example: action = "keep"'),
        (
            "rules = [{ action = 'dorp' }]",
            'x.rules[0].action: expected one of "keep", "drop", "rename"; found "dorp". Did you mean "drop"?',
        ),
        (
            "rules = [{ action = 'drop', nam = 'a' }]",
            'x.rules[0].nam: no such option. Did you mean "name"?',
        ),
        (
            "rules = [{ action = 'drop', to = 'a' }]",
            'x.rules[0]: "to" belongs to action "rename", and to no other',
        ),
        ("rules = ['drop']", 'x.rules[0]: expected a table; found "drop"'),
        ("inner = 1", "x.inner: expected a table; found 1"),
        ("inner = { b = '' }", "x.inner.a: required, and not set; for example: a = 1"),
        ("some = []", "x.some: expected a list of strings, of length 1 or more, of length 2 or less; found 0"),
        ("port = 0", "x.port: expected a whole number, at least 1, at most 65535; found 0"),
        ("mixed = 'a'", 'x.mixed: expected a whole number or list of whole numbers; found "a"'),
        ("mixed = ['a']", 'x.mixed[0]: expected a whole number; found "a"'),
        ("nmae = 1", 'x.nmae: no such option. Did you mean "name"?'),
    ],
)
def test_what_errors_say(text, problem):
    """Each error names file, line and key, what would be right, and what was found."""
    assert converted(text) == (None, [f"f:2: {problem}"])


def test_all_errors_of_a_table_at_once():
    """Every field is looked at, and every level, each with the line that it is on."""
    _, problems = converted(
        "on = 1\ncount = 'x'\nrules = [\n  { action = 5 },\n  { b = 1, action = 'drop' },\n]\nz = 1\n"
    )
    assert sorted(problem.split(": ")[0] for problem in problems) == ["f:2", "f:3", "f:5", "f:6", "f:8"]


def test_an_unknown_key_without_a_near_one():
    """Where nothing is near, what there is is listed, keys of others included."""
    _, problems = converted("zzz = 1", Inner, also=("plugin", "enabled"))
    assert problems == [
        "f:2: x.zzz: no such option; there are: a, b, enabled, plugin",
        "f:1: x.a: required, and not set; for example: a = 1",
    ]


def test_nothing_is_missed_in_files_that_could_not_be_read():
    """Where a file is no TOML, nobody knows that a required option is not set."""
    problems: list[Problem] = []
    document = Document(problems=(Problem(None, "", "broken"),))
    assert to_struct(Inner, {}, ("x",), document, problems) is None
    assert problems == []


def test_the_right_fields_of_a_wrong_table():
    """The core goes on with those of its own options that are right."""
    problems: list[Problem] = []
    assert to_fields(Inner, {"a": "x", "b": "y"}, ("x",), Document(), problems) == {"b": "y"}
    assert [problem.key for problem in problems] == ["x.a"]


class Strict(Config):
    low: int = 0
    user: str = ""
    password: Secret = Secret("")
    headers: dict[str, Secret] = {}
    how: str = "value"

    def __post_init__(self) -> None:
        told = f"{self.user} {self.password.reveal()} {[secret.reveal() for secret in self.headers.values()]}"
        if self.how == "key":
            raise KeyError(told)
        if self.how == "type":
            raise TypeError("nothing here")
        if self.low > 1:
            raise ValueError(f"low is more than 1, says {told}")


def test_contradictions_are_told_at_the_table():
    """A ValueError of __post_init__ is told as it is; anything else that it raises with its name."""
    assert converted("\nlow = 2\nuser = 'me'", Strict)[1] == ["f:1: x: low is more than 1, says me  []"]
    assert converted("how = 'type'", Strict)[1] == ["f:1: x: nothing here"]
    assert converted("how = 'key'", Strict)[1] == ["f:1: x: KeyError: '  []'"]


@pytest.mark.parametrize("how", ["value", "key"])
def test_contradictions_tell_no_secrets(how, monkeypatch):
    """Though a plugin repeats secrets and what was referred to in its error, they are blacked out."""
    monkeypatch.setenv("CANARY", CANARY + "1")
    text = f"""
        low = 2
        how = "{how}"
        user = {{ env = "CANARY" }}
        password = "{CANARY}2"
        headers = {{ a = "{CANARY}3" }}
    """
    [problem] = converted(text, Strict)[1]
    assert CANARY not in problem
    assert "***" in problem


class Unsupported(Config):
    number: complex = 1j


def test_a_type_that_no_file_can_have():
    """A plugin that declares such an option gets an error that says so, where it is set."""
    assert converted("", Unsupported) == (Unsupported(), [])
    assert converted("number = 'x'", Unsupported)[1] == [
        "f:2: x.number: options of type <class 'complex'> cannot be set from a file"
    ]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("on", "true", True),
        ("count", "9", 9),
        ("ratio", "0.25", 0.25),
        ("name", "9", "9"),
        ("name", "null", "null"),
        ("pause", "15s", Duration(15)),
        ("size", "1MiB", Size(2**20)),
        ("devices", "^a", Regex("^a")),
        ("password", "null", Secret("null")),
        ("level", "high", "high"),
        ("port", "8080", 8080),
        ("mixed", "5", 5),
    ],
)
def test_substitution(field, text, value, monkeypatch, tmp_path):
    """The text of a variable, file or credential becomes the field's type; line breaks at a file's end do not count."""
    monkeypatch.setenv("AGENTD_TEST", text)
    (tmp_path / "value").write_text(text + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for reference in ('{ env = "AGENTD_TEST" }', f'{{ file = "{tmp_path / "value"}" }}', '{ credential = "value" }'):
        struct, problems = converted(f"{field} = {reference}")
        assert problems == []
        assert getattr(struct, field) == value


def test_substitution_inside_of_lists_and_tables(monkeypatch):
    """Elements and entries may be references; tables with such a key stay tables where tables are wanted."""
    monkeypatch.setenv("AGENTD_TEST", "1s")
    text = (
        'pauses = ["2s", { env = "AGENTD_TEST" }]\nheaders = { a = { env = "AGENTD_TEST" } }\nlabels = { file = "x" }'
    )
    struct, problems = converted(text)
    assert problems == []
    assert struct.pauses == [Duration(2), Duration(1)]
    assert struct.headers == {"a": Secret("1s")}
    assert struct.labels == {"file": "x"}


def test_files_are_looked_for_beside_the_configuration(tmp_path):
    """A path without a slash at its head begins where the file lies that names it."""
    (tmp_path / "token").write_text("t\r\n")
    document = Document(origins={("x",): Origin(str(tmp_path / "agentd.toml"), 1)})
    problems: list[Problem] = []
    struct = to_struct(Options, {"name": {"file": "token"}}, ("x",), document, problems)
    assert (struct.name, problems) == ("t", [])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ('{ env = "AGENTD_NOT_SET" }', "environment variable AGENTD_NOT_SET is not set"),
        ('{ env = "AGENTD_BYTES" }', "environment variable AGENTD_BYTES is not UTF-8"),
        ('{ file = "/nonexistent/x" }', "cannot read /nonexistent/x: No such file or directory"),
        ('{ file = "/" }', "cannot read /: Is a directory"),
        ('{ file = "/dev/zero" }', "cannot use /dev/zero: larger than 1 MiB"),
        ('{ file = "BYTES" }', "cannot use BYTES: not UTF-8"),
        (
            '{ credential = "redis" }',
            (
                "cannot read /nowhere/redis: No such file or directory; a line LoadCredential=redis:PATH in a drop-in "
                "of the unit puts it there"
            ),
        ),
        ('{ credential = "../x" }', 'expected the name of a credential; found "../x"'),
        ('{ credential = "" }', 'expected the name of a credential; found ""'),
        ('{ file = "a\\u0000b" }', "cannot use a\0b: embedded null byte"),
    ],
)
def test_references_that_lead_nowhere(reference, message, monkeypatch, tmp_path):
    """The variable or the file is named, with the reason."""
    monkeypatch.setenv("AGENTD_BYTES", "\udcff")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    bytes_file = str(tmp_path / "bytes")
    _, problems = converted(
        "name = " + reference.replace('BYTES"', bytes_file + '"' if "file" in reference else 'BYTES"')
    )
    assert problems == ["f:2: x.name: " + message.replace("use BYTES", f"use {bytes_file}")]


def test_a_list_is_no_text():
    """A variable gives one text, and there is no rule for cutting it up: the error says what to do."""
    _, problems = converted('words = { env = "PATH" }')
    assert problems == [
        "f:2: x.words: expected a list of strings; { env } gives one text: put it in the place of an element"
    ]


FIELDS = [field.name for field in msgspec.structs.fields(Options)]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["env", "file", "credential"])
def test_no_substituted_value_is_ever_shown(field, kind, monkeypatch, tmp_path):
    """Whatever the option is, what a reference stands for is in no error."""
    monkeypatch.setenv("CANARY", f"http://host:{CANARY}(")
    (tmp_path / "canary").write_text(f"http://{CANARY}:{CANARY}@x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    name = {"env": "CANARY", "file": tmp_path / "canary", "credential": "canary"}[kind]
    reference = f'{{ {kind} = "{name}" }}'
    for text in (reference, f"[{reference}]", f"{{ a = {reference} }}", f"[{{ action = {reference} }}]"):
        _, problems = converted(f"{field} = {text}")
        assert not any(CANARY in problem for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        f"secrets = '{CANARY}'",
        f"secrets = [['{CANARY}']]",
        f"headers = '{CANARY}'",
        f"headers = {{ a = ['{CANARY}'] }}",
        f"password = ['{CANARY}']",
        f"password = {{ {CANARY[:3]} = '{CANARY}' }}",
        f"url = 'http://me:{CANARY}@host:port'",
        f"url = 'http://me:{CANARY}/x@host'",
        f"pause = 'http://me:{CANARY}@host'",
        f"pasword = '{CANARY}'",
    ],
)
def test_no_literal_secret_is_ever_shown(text):
    """Values in options that hold secrets, values of misspelt keys, and passwords in URLs are in no error."""
    [problem] = converted(text)[1]
    assert CANARY not in problem


class Login(Config):
    user: str = ""
    password: Secret = Secret("")
    next: "Login | None" = None


class Nested(Config):
    login: Login | None = None
    logins: list[Login] = []
    by_name: dict[str, Login] = {}
    pair: tuple[str, Secret] = ("", Secret(""))
    fail: bool = False

    def __post_init__(self) -> None:
        if self.fail:
            raise ValueError(f"told {self.pair[1].reveal()!r}")


@pytest.mark.parametrize(
    "text",
    [
        f"login = '{CANARY}'",
        f"logins = '{CANARY}'",
        f"logins = ['{CANARY}']",
        f"by_name = {{ a = '{CANARY}' }}",
        f"login = {{ next = '{CANARY}' }}",
        f"login = {{ password = ['{CANARY}'] }}",
        f"pair = '{CANARY}'",
        f"pair = ['a', '{CANARY}', 5]",
        f"pair = ['a', '{CANARY}']\nfail = true",
        f"pair = ['a', \"it's\\n{CANARY}\\\\\"]\nfail = true",
    ],
)
def test_no_secret_of_an_inner_table_is_ever_shown(text):
    """A text in place of a table or pair that holds secrets may be one, and a pair's is blacked out like others."""
    [problem] = converted(text, Nested)[1]
    assert CANARY not in problem


class Chain(Config):
    name: str = ""
    next: "Chain | None" = None


def test_a_table_may_hold_tables_of_its_own_kind():
    """Looking for secrets in a type that contains itself comes to an end, and finds none where there are none."""
    assert converted("next = { next = { name = 'a' } }", Chain) == (Chain(next=Chain(next=Chain(name="a"))), [])
    assert converted("next = 'a'", Chain)[1] == ['f:2: x.next: expected a table; found "a"']


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["env", "a", "action"]), inner),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Python says so of some regular expressions
@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), VALUES, max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_table_gives_a_struct_or_problems(table):
    """Whatever TOML may hold, nothing is raised, and there is no struct where there is a problem."""
    problems: list[Problem] = []
    struct = to_struct(Options, table, ("x",), Document(), problems)
    assert (struct is None) == bool(problems)

"""Options and metrics of a plugin that the agent does not import."""

import msgspec
import pytest

from agentd.config.describe import options
from agentd.isolation.describe import described_class, plain
from agentd.isolation.source import DescribeError
from agentd.options import Duration, Regex, Secret, Size, Url
from agentd.plugin import Collector
from agentd.plugin.declared import declared_metrics
from tests.isolation.conftest import COLLECTOR, interpreters

RICH = '''
from typing import Annotated, Any, Literal
import msgspec
from agentd.plugin import Duration, Regex, Secret, Size, Url

class Inner(Config):
    """Inner."""
    path: str
    deep: list[int] = []

class Rich(Config):
    """Rich."""
    required: str
    every: Duration = Duration(5)
    size: Size = Size(1024)
    name: Regex | None = Regex("^a$")
    url: Url | None = None
    token: Secret | None = None
    inner: Inner | None = None
    many: dict[str, list[str]] = {}
    mode: Literal["a", "b"] = "a"
    some: Annotated[int, msgspec.Meta(ge=1)] = 4
    pair: tuple[str, ...] = ("x",)
    whatever: Any = None
    def __post_init__(self):
        if self.required == "bad":
            raise ValueError("required must not be bad")
        assert isinstance(self.every, Duration) and isinstance(self.size, Size)
    def metric_names(self):
        return {("inner", "path"): f"of_{self.required}"}

class Plugin(Collector[Rich]):
    """What it does."""
    name = "mine"
    interval = 60.0
    max_series = 7
    level = gauge("level", "Level.", ("n",))

@hookimpl
def agentd_collectors():
    return [Plugin]
'''


def test_class_is_like_the_one_that_is_described(launcher, source):
    """Options, their types and defaults, metrics and what else the agent asks a class for."""
    cls = described_class(launcher, source(RICH))
    assert issubclass(cls, Collector)
    assert (cls.name, cls.interval, cls.max_series, cls.__doc__) == ("mine", 60.0, 7, "What it does.")
    assert [(each.name, each.labels) for each in declared_metrics(cls)] == [("level", ("n",))]
    config = cls.config_type(required="r")
    assert (config.every, config.size, config.name, config.mode) == (Duration(5), Size(1024), Regex("^a$"), "a")
    assert (config.pair, config.many, config.some) == (("x",), {}, 4)
    assert type(config.every) is Duration
    assert config.metric_names() == {("inner", "path"): "of_r"}
    fields = {field.name: field for field in msgspec.structs.fields(cls.config_type)}
    assert fields["required"].required
    assert not fields["token"].required


@pytest.mark.parametrize("python", [None, *interpreters().values()], ids=lambda each: "another" if each else "own")
def test_options_have_the_texts_below_them(launcher, source, python):
    """What an author has written below an option is shown as if the plugin were imported: of options of a base as well,
    and of tables.
    """
    code = '''
class Inner(Config):
    path: str = ""
    """Where it is."""

class Base(Config):
    speed: float = 1.0
    """Metres a second.

    Of the
    wheel.
    """
    old: int = 1
    """What it was."""

class Mine(Base):
    old: int = 2
    bare: int = 3
    inner: Inner = Inner()
    """Where
    things are."""

class Plugin(Collector[Mine]):
    name = "mine"

@hookimpl
def agentd_collectors():
    return [Plugin]
'''
    config = described_class(launcher, source(code, python=python)).config_type
    docs = {"speed": "Metres a second.\n\nOf the wheel.", "old": "What it was.", "inner": "Where things are."}
    assert {option.name: option.doc for option in options(config)} == {**docs, "bare": ""}
    (inner,) = [field.type for field in msgspec.structs.fields(config) if field.name == "inner"]
    assert [option.doc for option in options(inner)] == ["Where it is."]


def test_options_that_contradict_each_other_are_found_by_the_plugin(launcher, source):
    """``__post_init__`` of the plugin's own class is asked, and says why."""
    cls = described_class(launcher, source(RICH))
    with pytest.raises(ValueError, match="required must not be bad"):
        cls.config_type(required="bad")


def test_options_are_told_as_plain_values():
    """What a child is told is JSON, secrets included."""
    assert plain((Duration(2), Size(3), Regex("x"), Url("http://a"), Secret("s"), None, True, {"a": [1.5]})) == [
        2.0, 3, "x", "http://a", "s", None, True, {"a": [1.5]},
    ]  # fmt: skip
    with pytest.raises(TypeError, match="an option of type object"):
        plain(object())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("os._exit(4)", "its process has ended, exit status 4"),
        (
            "import ctypes\nctypes.string_at(0)",
            "its process has ended, by SIGSEGV: Fatal Python error: Segmentation fault",
        ),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "implements no hook agentd_collectors"),
        ("@hookimpl\ndef agentd_collectors():\n    return [42]", "returned 42, which is no class of Collector"),
        (
            "class A(Collector[Config]):\n    name = 'other'\n@hookimpl\ndef agentd_collectors():\n    return [A]",
            "registers no collector named mine: there is other",
        ),
        (
            COLLECTOR.format("pass")
            .replace("[Options]", "[Odd]")
            .replace("class Plugin", "class Odd(Config):\n    a: list = []\n\nclass Plugin"),
            "option a: list cannot be told from one process to another",
        ),
    ],
)
def test_what_cannot_be_described_says_why(launcher, source, code, text):
    """Whatever importing a plugin does, it is an error with a text, and the next can be described."""
    with pytest.raises(DescribeError) as caught:
        described_class(launcher, source(code))
    assert text in str(caught.value)


def test_interpreter_that_is_not_there_is_named(launcher, source):
    """The error names the file."""
    with pytest.raises(DescribeError, match=r"exit status 127: /no/python cannot be begun: .* No such file"):
        described_class(launcher, source(RICH, python="/no/python"))


@pytest.mark.parametrize("version", interpreters() or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
def test_another_interpreter_describes_alike(launcher, source, version):
    """Without agentd, the stand-in tells the same of the same options."""
    code = '''
from typing import Dict, List, Optional
from agentd.plugin import Duration, Regex, Secret, Size, Url
class Rich(Config):
    required: str
    every: Duration = Duration("1h0.5s")
    most: Size = Size("64 MiB")
    some: Size = Size("1.5KB")
    least: Size = Size("7B")
    name: Optional[Regex] = Regex("^a$")
    token: Optional[Secret] = None
    many: Dict[str, List[int]] = {}
class Plugin(Collector[Rich]):
    """What it does."""
    name = "mine"
    level = gauge("level", "Level.", ("n",))
@hookimpl
def agentd_collectors():
    return [Plugin]
'''
    ours = described_class(launcher, source(code))
    theirs = described_class(launcher, source(code, python=interpreters()[version]))
    assert declared_metrics(ours) == declared_metrics(theirs)
    told = [
        [(field.name, field.type, field.required) for field in msgspec.structs.fields(cls.config_type)]
        for cls in (ours, theirs)
    ]
    assert told[0] == told[1]
    assert plain(ours.config_type(required="r")) == plain(theirs.config_type(required="r"))


@pytest.mark.parametrize("python", [None, *interpreters().values()], ids=lambda each: "another" if each else "own")
def test_what_is_no_class_of_options_is_refused_everywhere(launcher, source, python):
    """Every interpreter says what to do, and where."""
    code = "class Odd:\n    a = 1\n\nclass Plugin(Collector[Odd]):\n    name = 'mine'\n"
    with pytest.raises(
        DescribeError, match=r"Odd.* is no class of options: let it extend Config.* \(at .*mine.py:12\)"
    ):
        described_class(launcher, source(code, python=python))
    code = """
from typing import Any, TypeVar
C = TypeVar("C")
class Open(Collector[C]):
    pass
class Whatever(Sink[Any]):
    pass
class Plugin(Open[Options]):
    name = "mine"
@hookimpl
def agentd_collectors():
    return [Plugin]
"""
    cls = described_class(launcher, source(code, python=python))
    assert [field.name for field in msgspec.structs.fields(cls.config_type)] == ["number"]


@pytest.mark.parametrize("default", ['Duration("10")', 'Size("64")'])
@pytest.mark.parametrize("version", interpreters() or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
def test_another_interpreter_refuses_alike(launcher, source, version, default):
    """A default that is no duration or size says there, too, what would be right."""
    code = f"from agentd.plugin import Duration, Size\nclass Odd(Config):\n    a: float = {default}\n"
    with pytest.raises(DescribeError) as ours:
        described_class(launcher, source(code))
    with pytest.raises(DescribeError) as theirs:
        described_class(launcher, source(code, python=interpreters()[version]))
    said = [str(each.value).partition(" (at ")[0] for each in (ours, theirs)]
    assert said[0] == said[1]
    assert said[0].startswith("ValueError: expected a ")

"""Options as people read them: words, samples, effective settings, schema."""

import re
from typing import Annotated, Literal

import msgspec
import pytest
import tomli

from agentd.cli.config import entries
from agentd.config import ConfigError, Document, Origin, read, resolve
from agentd.config.describe import Option, default_file, options, sample, show
from agentd.config.resolve import KEYS
from agentd.instances import COLLECTOR_TIMEOUT
from agentd.metrics.rules import Rule
from agentd.options import Config, Duration, Regex, Secret, Size, Url
from agentd.registry import Registry

CANARY = "kanarienvogel"


class Base(Config):
    pause: Duration = Duration(90)
    """How long to wait.

    Longer than ``5s``
    is wise."""
    undocumented: int = 1
    "".strip()  # what stands below a field and is no docstring is left alone


class Options(Base, kw_only=True):
    url: Url
    """Where to ask."""
    devices: Regex | None = None
    """Only these."""
    password: Secret | None = None
    """What to say."""
    size: Size = Size(2048)
    words: list[str] = msgspec.field(default_factory=lambda: ["a"])
    level: Literal["low", "high"] = "low"
    headers: dict[str, Secret] = {}
    """Secret headers."""
    limit: float = float("inf")
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    renamed: bool = msgspec.field(default=False, name="called-otherwise")


class Push(Config):
    """Options of an exporter."""

    path: Annotated[str, msgspec.Meta(examples=["/x.prom"])]
    """A file whose name ends in ``.prom``."""
    rules_of_mine: list[Rule] = []

    def __post_init__(self) -> None:
        if not self.path.endswith(".prom"):
            raise ValueError("path must end in .prom")


ENTRIES = [
    ("collectors", "cpu", "Time of each CPU.\n\nMore about it.", Config),
    ("collectors", "http", "Asks a server for ``JSON``.", Options),
    ("exporters", "push", "Writes a file.", Push),
]


class Plugins:
    """A catalog of the entries above, of which cpu runs by default."""

    def names(self, kind):
        return [name for each, name, _, _ in ENTRIES if each == kind]

    def defaults(self, kind):
        return {"cpu": "default"} if kind == "collectors" else {}

    def config_type(self, kind, plugin):
        return next(type_ for each, name, _, type_ in ENTRIES if (each, name) == (kind, plugin))


@pytest.fixture
def resolved(tmp_path):
    def resolved(text, **keywords):
        (tmp_path / "agentd.toml").write_text(text)
        return resolve(read(tmp_path / "agentd.toml"), Plugins(), **keywords)

    return resolved


def test_options_of_a_class():
    """Each has its name in files, words for its type, its default in TOML, and its docstring; inherited ones too."""
    described = {option.name: option for option in options(Options)}
    assert described["url"] == Option(
        name="url",
        type="URL",
        default=None,
        required=True,
        example='"http://localhost:8080/"',
        doc="Where to ask.",
        secret=False,
    )
    assert described["pause"].doc == "How long to wait.\n\nLonger than ``5s`` is wise."
    assert described["undocumented"].doc == ""
    assert {name: option.default for name, option in described.items()} == {
        "pause": '"90s"',
        "undocumented": "1",
        "url": None,
        "devices": None,
        "password": None,
        "size": '"2KiB"',
        "words": '["a"]',
        "level": '"low"',
        "headers": "{}",
        "limit": "inf",
        "port": "80",
        "called-otherwise": "false",
    }
    assert [name for name, option in described.items() if option.required] == ["url"]
    assert [name for name, option in described.items() if option.secret] == ["password", "headers"]


def test_a_class_without_source_has_no_docs():
    """A class made at run time is described all the same."""
    made = type(Config)("Made", (Config,), {"__annotations__": {"x": int}, "x": 1})
    assert [(option.name, option.doc) for option in options(made)] == [("x", "")]


def test_a_field_of_the_same_name_has_the_newer_docstring():
    """What a subclass says of a field goes before what its base says."""

    class Newer(Base):
        pause: Duration = Duration(1)
        """Something else."""

    assert {option.name: option.doc for option in options(Newer)}["pause"] == "Something else."


def test_every_option_of_the_core_is_documented():
    """Whatever the core declares has a docstring and so an explanation in the annotated file."""
    for type_ in KEYS.values():
        assert all(option.doc for option in options(type_))


def test_a_sample():
    """A section with everything commented out: prose behind "# ", options and the header behind "#"."""
    assert (
        sample("exporters", "push", "Writes a file.\n\nAgain and again.", Push)
        == """\
# Writes a file.
#
# Again and again.
#[exporters.push]

# A file whose name ends in .prom. (string; required)
#path = "/x.prom"

# (list of tables)
#rules_of_mine = []
"""
    )


def uncommented(text):
    """Take away the marks before options and headers, and leave those before prose."""
    return re.sub(r"^#(?=[^ \n])", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[1])
def test_a_sample_parses_with_and_without_its_marks(entry):
    """As it is it says nothing; without marks it sets every option that has a value, to its default."""
    kind, name, _, type_ = entry
    text = sample(*entry)
    assert tomli.loads(text) == {}
    section = tomli.loads(uncommented(text))[kind][name]
    assert set(section) == {option.name for option in options(type_) if option.default is not None or option.required}
    assert all(line.startswith("#") or not line for line in text.splitlines())
    assert max(map(len, text.splitlines())) <= 120


def test_the_default_file_says_nothing_and_everything(resolved):
    """As it is it changes nothing; with all marks gone it checks, and every default is what it was."""
    text = default_file(iter(ENTRIES))
    nothing, everything = resolved(text), resolved(uncommented(text))
    assert (nothing.agent, nothing.web, nothing.host) == (everything.agent, everything.web, everything.host)
    assert [instance.key for instance in nothing.instances] == ["collectors.cpu"]
    assert [instance.key for instance in everything.instances] == [
        "collectors.cpu",
        "collectors.http",
        "exporters.push",
    ]
    assert nothing.instances[0] == everything.instances[0]
    assert everything.instances[1].config == Options(url=Url("http://localhost:8080/"))
    for name in ("agent", "web", "host", "collectors", "exporters"):
        assert f"\n[{name}]\n" in text


def test_the_default_file_would_notice_a_wrong_example(resolved):
    """The check above can fail: an option set to what does not check is an error."""
    with pytest.raises(ConfigError):
        resolved(uncommented(default_file(ENTRIES)).replace("/x.prom", "/x"))


SHOWN = """\
[agent]
labels = { site = "x" }

[web]
listen = [":1", ":2"]

[collectors]
disable = ["cpu"]

[collectors.http]
url = "http://me:kanarienvogel@host/"
password = "kanarienvogel"
size = { env = "SIZE" }
words = ["a", { file = "words" }]
headers = { a = "kanarienvogel", b = { file = "words" } }
interval = "1m"

[exporters.push]
path = "a.prom"
rules_of_mine = [{ action = "drop", name = { file = "words" } }]
"""


def test_what_is_shown(resolved, tmp_path, monkeypatch):
    """Every value that counts with its origin; secrets hidden, references kept; valid TOML that says the same."""
    monkeypatch.setenv("SIZE", "4KiB")
    (tmp_path / "words").write_text(CANARY)
    overrides = {("agent", "log_level"): ("debug", Origin("--log-level"))}
    text = show(resolved(SHOWN, overrides=overrides)).replace(str(tmp_path / "agentd.toml"), "F")
    assert CANARY not in text
    assert (
        text
        == """\
[agent]
labels.site = "x"  # F:2
plugin_dirs = []  # default
log_level = "debug"  # --log-level
log_format = "auto"  # default

[web]
listen = [":1", ":2"]  # F:5
tokens = {}  # default
route_prefix = ""  # default
trusted_proxies = []  # default
allowed_hosts = []  # default
cors_origins = []  # default
max_connections = 2048  # default

[host]
procfs = "/proc"  # default
sysfs = "/sys"  # default
rootfs = "/"  # default
udev_data = "/run/udev/data"  # default

[journal]
enabled = true  # default
max_age = "1w"  # default
memory = "16MiB"  # default

[collectors.http]  # [collectors.http] in F:10
enabled = true  # default
interval = "1m"  # F:16
pause = "90s"  # default
undocumented = 1  # default
url = "http://me:***@host/"  # F:11
password = "***"  # F:12
size = { env = "SIZE" }  # F:13
words = ["a", { file = "words" }]  # F:14
level = "low"  # default
headers.a = "***"  # F:15
headers.b = { file = "words" }  # F:15
limit = inf  # default
port = 80  # default
called-otherwise = false  # default

[exporters.push]  # [exporters.push] in F:18
enabled = true  # default
rules = []  # default
path = "a.prom"  # F:19
rules_of_mine = [{ action = "drop", name = { file = "words" }, labels = {}, to = "" }]  # F:20

# collectors.cpu: disabled in F:8
"""
    )
    assert tomli.loads(text)["collectors"]["http"]["headers"] == {"a": "***", "b": {"file": "words"}}


class Keys(Config):
    keys: frozenset[Secret] = frozenset()


def test_a_set_of_secrets_and_references_shows_the_references_alone(monkeypatch):
    """Sets have no order by which a secret could be told from a reference, and still none of them is shown."""
    monkeypatch.setenv("CANARY", CANARY)
    values = {"collectors": {"x": {"keys": [{"env": "CANARY"}, f"{CANARY}2"]}}}

    class Catalog(Plugins):
        def names(self, kind):
            return ["x"] if kind == "collectors" else []

        def defaults(self, kind):
            return {}

        def config_type(self, kind, plugin):
            return Keys

    settings = resolve(Document(values), Catalog())
    assert settings.instances[0].config.keys == {Secret(CANARY), Secret(f"{CANARY}2")}
    assert 'keys = [{ env = "CANARY" }, "***"]  # default' in show(settings)
    assert CANARY not in show(settings)


def test_a_collectors_timeout_is_explained_as_it_is():
    """What is said of a timeout that is left out is what the agent then takes."""
    [option] = [option for option in options(KEYS["collectors"]) if option.name == "timeout"]
    assert f"left out, ``{Duration(COLLECTOR_TIMEOUT)}``" in option.doc


def test_the_bundled_configuration_says_nothing_and_everything(tmp_path):
    """With the plugins that there are: as it is the defaults run; unmarked, all do, each with its own defaults.

    Plugins with a required option are left out: what is right there only its user knows.
    """
    registry = Registry()
    described = [entry for entry in entries(registry) if not any(option.required for option in options(entry[3]))]
    text = default_file(described)
    (tmp_path / "as_it_is.toml").write_text(text)
    (tmp_path / "unmarked.toml").write_text(uncommented(text))
    defaults = {f"{kind}.{name}" for kind in KEYS for name in registry.defaults(kind)}
    nothing = resolve(read(tmp_path / "as_it_is.toml"), registry)
    everything = resolve(read(tmp_path / "unmarked.toml"), registry)
    assert {instance.key for instance in nothing.instances} == defaults
    assert {instance.key for instance in everything.instances} == {f"{kind}.{name}" for kind, name, _, _ in described}
    assert (nothing.agent, nothing.web, nothing.host) == (everything.agent, everything.web, everything.host)
    unmarked = {instance.key: instance for instance in everything.instances}
    for instance in nothing.instances:
        assert unmarked[instance.key] == instance


class Broken(Plugins):
    """A catalog whose plugins cannot be loaded."""

    def config_type(self, kind, plugin):
        return None


def test_what_is_shown_of_a_plugin_that_cannot_be_loaded(tmp_path):
    """Its own options are not known, and this is said."""
    (tmp_path / "agentd.toml").write_text(f'[collectors.cpu]\nsecret = "{CANARY}"\n')
    text = show(resolve(read(tmp_path / "agentd.toml"), Broken()))
    assert CANARY not in text
    assert "# The plugin could not be loaded: its own options are not known." in text

"""A document and the plugins that there are -> what runs and why, or everything that is wrong."""

import hashlib
import subprocess
import sys
from typing import ClassVar

import pytest
import tomli

from agentd.config import CollectorKeys, ConfigError, Document, ExporterKeys, Origin, read, resolve
from agentd.config.describe import show
from agentd.config.resolve import NO_INTERVAL
from agentd.metrics.rules import Rule
from agentd.options import Config, Duration, Regex, Secret, Url

CANARY = "kanarienvogel"


class Filesystem(Config):
    exclude: Regex = Regex("^/dev")
    mount_timeout: Duration = Duration(5)


class Http(Config):
    url: Url
    password: Secret | None = None
    pause: Duration = Duration(1)


class Push(Config):
    path: str = "/x"
    wait: Duration = Duration(15)


class Plugins:
    """A catalog: cpu, filesystem and broken run by default, http does not; broken cannot be loaded."""

    TYPES = {
        "collectors": {"filesystem": Filesystem, "cpu": Config, "http": Http, "broken": None},
        "exporters": {"prometheus": Config, "push": Push},
        "sinks": {"lines": Config},
    }
    broken_files: ClassVar = {"plugin_dirs.odd": "ImportError: no (at /p/odd.py:3)"}

    def __init__(self):
        self.asked = []

    def names(self, kind):
        return list(self.TYPES[kind])

    def defaults(self, kind):
        names = {"collectors": ("cpu", "filesystem", "broken"), "exporters": ("prometheus",)}.get(kind, ())
        return dict.fromkeys(names, "default")

    def config_type(self, kind, plugin):
        self.asked.append(plugin)
        return self.TYPES[kind][plugin]

    def exports(self, plugin):
        return plugin == "push"


@pytest.fixture
def resolved(tmp_path):
    def resolved(text, **files):
        """Return the settings of these files; ``FILE`` in an expectation stands for the first."""
        (tmp_path / "agentd.toml").write_text(text)
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, content in files.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(content)
        return resolve(read(tmp_path / "agentd.toml"), Plugins())

    return resolved


def test_a_default_that_needs_an_option_does_not_run_without_it(tmp_path):
    """A plugin that runs by being there is off while a required option is missing, with the reason, and on with it."""

    class Local(Plugins):
        def defaults(self, kind):
            return super().defaults(kind) | ({"http": "in a plugin folder"} if kind == "collectors" else {})

    (tmp_path / "agentd.toml").write_text("")
    settings = resolve(read(tmp_path / "agentd.toml"), Local())
    assert settings.disabled["collectors.http"] == "needs url in [collectors.http]"
    assert "http" not in [one.name for one in settings.instances]
    (tmp_path / "agentd.toml").write_text('[collectors.http]\nurl = "http://localhost/"\n')
    reasons = {one.name: one.reason for one in resolve(read(tmp_path / "agentd.toml"), Local()).instances}
    assert (reasons["http"], reasons["cpu"]) == ("in a plugin folder", "default")


def test_an_address_that_is_there_twice_is_an_error(problems):
    """The second of two equal addresses would find its port taken, by the agent itself."""
    assert problems('[web]\nlisten = [":1", "127.0.0.1:0", "127.0.0.1:0", ":1"]') == [
        'agentd.toml:2: web.listen[3]: this address is there twice; found ":1"'
    ]


@pytest.fixture
def problems(resolved, tmp_path):
    def problems(text, **files):
        """Return everything that is wrong with these files, as texts without the name of the folder."""
        with pytest.raises(ConfigError) as caught:
            resolved(text, **files)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems


def running(settings):
    return [instance.key for instance in settings.instances]


def reasons(settings, tmp_path):
    told = {instance.key: instance.reason for instance in settings.instances} | dict(settings.disabled)
    return {key: reason.replace(f"{tmp_path}/", "") for key, reason in told.items()}


def test_no_configuration_at_all():
    """The defaults run, in their order, with their default options; one that cannot be loaded has none."""
    settings = resolve(Document(), Plugins())
    assert running(settings) == [
        "collectors.cpu",
        "collectors.filesystem",
        "collectors.broken",
        "exporters.prometheus",
    ]
    assert {instance.reason for instance in settings.instances} == {"default"}
    assert [instance.config for instance in settings.instances] == [Config(), Filesystem(), None, Config()]
    assert settings.instances[0].keys == CollectorKeys()
    assert settings.disabled == {}


def test_what_runs_and_why(resolved, tmp_path):
    """Sections and lists add to the defaults or take from them, and every reason names its line."""
    settings = resolved(
        """\
[collectors]
enable = ["http"]
disable = ["broken"]
[collectors.http]
url = "http://a/"
[collectors.filesystem]
enabled = false
[collectors.door-1]
plugin = "http"
url = "http://b/"
[exporters.push]
"""
    )
    assert running(settings) == [
        "collectors.cpu",
        "collectors.http",
        "collectors.door-1",
        "exporters.prometheus",
        "exporters.push",
    ]
    assert reasons(settings, tmp_path) == {
        "collectors.cpu": "default",
        "collectors.http": "enabled in agentd.toml:2",
        "collectors.door-1": "[collectors.door-1] in agentd.toml:8",
        "collectors.broken": "disabled in agentd.toml:3",
        "collectors.filesystem": "enabled = false in agentd.toml:7",
        "exporters.prometheus": "default",
        "exporters.push": "[exporters.push] in agentd.toml:11",
    }
    door = settings.instances[2]
    assert (door.name, door.plugin, door.config) == ("door-1", "http", Http(url=Url("http://b/")))


def test_keys_of_the_core_and_options_of_the_plugin(resolved):
    """Reserved keys go to the core, the rest to the plugin; an exporter's interval is such a key."""
    settings = resolved(
        """\
[collectors.filesystem]
interval = "1m"
timeout = "2s"
isolation = "thread"
max_series = 5
mount_timeout = "1s"
[exporters.push]
interval = "2s"
rules = [{ action = "drop", name = "go_.*" }]
"""
    )
    filesystem, push = settings.instances[1], settings.instances[-1]
    assert filesystem.keys == CollectorKeys(
        interval=Duration(60), timeout=Duration(2), isolation="thread", max_series=5
    )
    assert filesystem.config == Filesystem(mount_timeout=Duration(1))
    assert push.keys == ExporterKeys(interval=Duration(2), rules=[Rule(action="drop", name="go_.*")])
    assert push.config == Push()


def test_what_runs_by_default_does_so_by_default_however_it_is_configured(resolved):
    """A section or an entry in a list does not become the reason for what would run without it."""
    settings = resolved('[collectors]\nenable = ["cpu"]\n[collectors.cpu]\nmax_series = 1\n')
    assert settings.instances[0].reason == "default"
    assert settings.instances[0].keys == CollectorKeys(max_series=1)


@pytest.mark.parametrize(
    "text",
    [
        '[collectors]\nenable = ["cpu"]\ndisable = ["cpu"]\n[collectors.cpu]\nenabled = true\n',
        '[collectors]\nenable = ["cpu"]\n[collectors.cpu]\nenabled = false\n',
    ],
)
def test_off_wins(text, resolved):
    """What any place switches off is off, whatever switches it on."""
    settings = resolved(text)
    assert "collectors.cpu" not in running(settings)
    assert "collectors.cpu" in settings.disabled


def test_an_instance_can_be_switched_by_its_own_name(resolved):
    """The lists may name what a section with ``plugin`` defines."""
    text = '[collectors]\ndisable = ["door"]\n[collectors.door]\nplugin = "http"\n'
    assert "collectors.door" in resolved(text).disabled


def test_what_is_off_is_not_loaded_and_may_be_unfinished(tmp_path):
    """A section that is off needs no required option, and its plugin is not imported."""
    plugins = Plugins()
    values = {"collectors": {"disable": ["cpu"], "http": {"enabled": False}}}
    resolve(Document(values), plugins)
    assert plugins.asked == ["filesystem", "broken", "prometheus"]


def test_a_plugin_that_cannot_be_loaded_is_no_error(resolved):
    """Its options cannot be checked, so any are taken; the core's keys still are."""
    [broken] = [each for each in resolved("[collectors.broken]\nx = 1\n").instances if each.name == "broken"]
    assert broken.config is None


MISTAKES = """\
[agent]
log_level = "inof"
lables = {}

[web]
listen = [
  ":9797",
  "localhost"]

[collectors]
enable = ["cpu", "filesytem"]

[collectors.filesystem]
mount_timeout = 15
exlude = "a"
max_series = 0

[collectors.http]
password = 5

[colector.cpu]

[exporters.prometheus]
rules = [
  { action = "drop" },
  { action = "rename" }]
"""


def test_eleven_mistakes_in_one_file_are_eleven_lines(problems):
    """All are told at once, in the order of their lines, each with its own line, key, and what would be right."""
    assert problems(MISTAKES) == [
        (
            'agentd.toml:2: agent.log_level: expected one of "debug", "info", "warning", "error"; found "inof"'
            '. Did you mean "info"?'
        ),
        'agentd.toml:3: agent.lables: no such option. Did you mean "labels"?',
        (
            'agentd.toml:8: web.listen[1]: expected HOST:PORT, [IPv6]:PORT or :PORT, such as "127.0.0.1:9797"'
            '; found "localhost"'
        ),
        'agentd.toml:11: collectors.enable[1]: no collector is called "filesytem". Did you mean "filesystem"?',
        (
            "agentd.toml:14: collectors.filesystem.mount_timeout: expected a duration with its unit"
            ', such as "250ms", "15s" or "1h30m"; found 15'
        ),
        'agentd.toml:15: collectors.filesystem.exlude: no such option. Did you mean "exclude"?',
        "agentd.toml:16: collectors.filesystem.max_series: expected a whole number, at least 1; found 0",
        'agentd.toml:18: collectors.http.url: required, and not set; for example: url = "http://localhost:8080/"',
        'agentd.toml:19: collectors.http.password: expected a text, or better { file = "PATH" } or { env = "NAME" }',
        'agentd.toml:21: colector: no such section. Did you mean "collectors"?',
        'agentd.toml:26: exporters.prometheus.rules[1]: action "rename" needs "to", the new name',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("web = 5", "1: web: expected a table; found 5"),
        ("collectors = 5", "1: collectors: expected a table; found 5"),
        (
            "zzz = 5",
            "1: zzz: no such key; there are the sections agent, web, host, journal, collectors, exporters, sinks",
        ),
        ("[host]\nproc = '/p'", '2: host.proc: no such option. Did you mean "procfs"?'),
        ("[collectors]\nenable = 'cpu'", '2: collectors.enable: expected a list of strings; found "cpu"'),
        ("[collectors]\nenabel = ['cpu']", '2: collectors.enabel: no such option. Did you mean "enable"?'),
        ("[collectors]\ninterval = '15s'", "2: collectors.interval: no such option; there are: disable, enable"),
        ("[collectors]\ncpu = true", "2: collectors.cpu: expected a table, [collectors.cpu]; found true"),
        (
            '[collectors."a b"]\nplugin = "cpu"',
            '1: collectors."a b": expected a name of letters, digits, _ and -',
        ),
        ("[collectors.cpuu]", '1: collectors.cpuu: no collector is called "cpuu". Did you mean "cpu"?'),
        (
            "[collectors.lobby]",
            (
                '1: collectors.lobby: no collector is called "lobby"; '
                'a section of a name of its own says which it is by plugin = "NAME"'
            ),
        ),
        ("[exporters.odd]", "1: exporters.odd: odd.py cannot be loaded: ImportError: no (at /p/odd.py:3)"),
        (
            "[exporters.x]\nplugin = 'prometeus'",
            '2: exporters.x.plugin: no exporter is called "prometeus". Did you mean "prometheus"?',
        ),
        ("[collectors.x]\nplugin = 5", "2: collectors.x.plugin: expected a string; found 5"),
        (
            "[collectors.cpu]\npython = '/usr/bin/python3'",
            '1: collectors.cpu: python needs isolation = "process"',
        ),
        (
            "[collectors.cpu]\nisolation = 'process'\nmemory_limit = '1MiB'",
            '1: collectors.cpu: memory_limit must be at least 32MiB, or "0B" for no limit',
        ),
        (
            "[exporters.prometheus]\nisolation = 'process'",
            (
                "2: exporters.prometheus.isolation: an exporter runs in the agent: it needs all metrics at once, "
                "and most answer on the agent's web server; a program of its own can read them from there"
            ),
        ),
        ("[exporters.push]\ninterval = '900ms'", "1: exporters.push: interval must be at least 1s; found 900ms"),
        (
            "[exporters.prometheus]\ninterval = '5s'",
            f"2: exporters.prometheus.interval: {NO_INTERVAL}",
        ),
        ("[collectors.cpu]\n\ninterval = '0s'", "1: collectors.cpu: interval must be longer than 0s"),
        (
            "[exporters.push]\ntimeout = '1s'",
            "2: exporters.push.timeout: no such option; there are: enabled, interval, path, plugin, rules, wait",
        ),
        (
            "[collectors.broken]\nmax_series = 'a'",
            '2: collectors.broken.max_series: expected a whole number, at least 1; found "a"',
        ),
        (
            "[sinks.fleet]\nplugin = 'lines'\nevents = []",
            (
                '3: sinks.fleet.events: expected at least one pattern, such as "telemetry.*"; without this key it gets '
                "all, with enabled = false none; found []"
            ),
        ),
        (
            "[sinks.fleet]\nplugin = 'lines'\nevents = [\n  'a.*',\n  'b.*, c.*',\n]",
            (
                "5: sinks.fleet.events[1]: expected letters, digits, _ and - with dots between them, and *, ? or [...] "
                'for some of those, such as "telemetry.*"; found "b.*, c.*"'
            ),
        ),
        (
            "[sinks.fleet]\nplugin = 'lines'\nsources = [' ']",
            (
                "3: sinks.fleet.sources[0]: expected printable characters without blanks around them, such as "
                '"collectors.*"; found " "'
            ),
        ),
        ("[collectors]\ndisable = ['zzz']", '2: collectors.disable[0]: no collector is called "zzz"'),
    ],
)
def test_what_errors_say(text, problem, problems):
    """One mistake is one problem, whose text says what to do."""
    assert problems(text) == [f"agentd.toml:{problem}"]


def test_a_file_that_is_no_toml_does_not_hide_what_is_wrong_elsewhere(problems):
    """Other files are checked whole; nothing is said to be missing, as the broken file may have had it."""
    told = problems(
        "[agent\n",
        a="[collectors.local]\n[collectors.http]\npassword = 5\n[collectors.cpu]\nx = 1\n",
    )
    assert [problem.split(": ")[0] for problem in told] == ["agentd.toml:1", "conf.d/a.toml:3", "conf.d/a.toml:5"]


def test_the_order_of_problems_is_that_of_the_files(problems):
    """Problems come by file and line, those of no file last."""
    told = problems("[web]\nx = 1\n[agent]\ny = 1\n", b="[web]\nz = 1\n", a="[host]\nw = 1\n")
    assert [problem.split(": ")[0] for problem in told] == [
        "agentd.toml:2",
        "agentd.toml:4",
        "conf.d/a.toml:2",
        "conf.d/b.toml:2",
    ]


def test_overrides_are_checked_like_files():
    """What the command line says wrongly is told with its origin."""
    overrides = {("agent", "log_level"): ("loud", Origin("--log-level"))}
    with pytest.raises(ConfigError, match=r"^--log-level: agent.log_level: expected one of"):
        resolve(Document(), Plugins(), overrides=overrides)


def test_reload_sees_what_changed_and_nothing_else(resolved):
    """Of two configurations, exactly the instances whose settings differ are unequal, wherever their lines are."""
    before = resolved('[collectors.http]\nurl = "http://a/"\n[collectors.filesystem]\nmount_timeout = "1m"\n')
    after = resolved('# moved\n[collectors.filesystem]\nmount_timeout = "60s"\n[collectors.http]\nurl = "http://b/"\n')
    old = {instance.key: instance for instance in before.instances}
    assert [instance.key for instance in after.instances if instance != old[instance.key]] == ["collectors.http"]
    assert before != after


def test_reload_sees_that_a_secret_changed(resolved, tmp_path):
    """What a file holds counts, not where it lies."""
    (tmp_path / "secret").write_text("one")
    text = '[collectors.http]\nurl = "http://a/"\npassword = { file = "secret" }\n'
    before = resolved(text)
    assert resolved(text) == before
    (tmp_path / "secret").write_text("two")
    assert resolved(text) != before


def test_settings_do_not_show_secrets(resolved, monkeypatch):
    """Neither literal secrets nor what was referred to is in any repr."""
    monkeypatch.setenv("CANARY", CANARY)
    settings = resolved(
        f'[collectors.http]\nurl = "http://a/"\npassword = "{CANARY}"\n[exporters.push]\npath = {{ env = "CANARY" }}\n'
    )
    assert settings.instances[-1].config.path == CANARY
    assert CANARY not in f"{settings!r} {settings.instances!r} {settings.document!r} {settings.instances[3].config!r}"


SECRETS = {"plain": f'"{CANARY}"', "env": '{ env = "CANARY" }', "file": '{ file = "canary" }'}
BESIDE = {
    "nothing": "",
    "a wrong value": "pause = 5\n",
    "an unknown key": f"pasword = '{CANARY}'\n",
    "a missing one": "",
    "a wrong file": "[colectors]\n",
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_nowhere_with_and_without_errors_beside_it(kind, beside, resolved, tmp_path, monkeypatch):
    """However a secret is given, no message, repr or effective setting has it; only the plugin's option does."""
    monkeypatch.setenv("CANARY", CANARY)
    (tmp_path / "canary").write_text(f"{CANARY}\n")
    url = "" if beside == "a missing one" else 'url = "http://a/"\n'
    text = f"[collectors.http]\npassword = {SECRETS[kind]}\n{url}{BESIDE[beside]}"
    if beside == "nothing":
        settings = resolved(text)
        [http] = [instance for instance in settings.instances if instance.name == "http"]
        assert http.config.password.reveal() == CANARY
        told = [show(settings), settings, settings.document, settings.instances, http, http.config]
    else:
        with pytest.raises(ConfigError) as caught:
            resolved(text)
        told = [caught.value, caught.value.problems, caught.value.args]
    for each in told:
        assert CANARY not in f"{each} {each!r}"


def test_what_is_meant_is_looked_for_a_hundred_times(problems):
    """A list of names of which none is known, however long, is told of within a second or so."""
    names = ", ".join(['"filesystems"'] * 150)
    found = problems(f"[collectors]\ndisable = [{names}]\n")
    assert [problem.endswith('Did you mean "filesystem"?') for problem in found] == [True] * 100 + [False] * 50


@pytest.mark.parametrize("option", ["interval", "timeout"])
@pytest.mark.parametrize("value", ["15", '"15"'])
def test_times_without_units_are_refused(option, value, problems):
    """A number of who knows what is no duration, with and without quotes."""
    [problem] = problems(f"[collectors.cpu]\n{option} = {value}\n")
    assert problem == (
        f"agentd.toml:2: collectors.cpu.{option}: expected a duration with its unit"
        f', such as "250ms", "15s" or "1h30m"; found {value}'
    )


def test_importing_is_cheap():
    """Neither the parser of TOML nor what describes options is imported where there is no file to read."""
    program = (
        "import sys, agentd.config as c; c.read(None); "
        "print([m for m in ('tomli', 'agentd.config.describe', 'agentd.config.lines', 'aiohttp', 'click',"
        " 'agentd.plugin', 'agentd.registry') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


WRONG_TOKENS = f"""\
[web]
tokens_file = "tokens.toml"
tokens.plain = "{CANARY}-{CANARY}"

[web.tokens.short]
token = "{CANARY}"

[web.tokens.none]
robots = ["*"]

[web.tokens.both]
token = "{CANARY}-{CANARY}"
sha256 = "{CANARY}"

[web.tokens.hash]
sha256 = "{CANARY}"

[web.tokens.scope]
token = "{CANARY}-{CANARY}"
scopes = ["robots:wrote"]

[web.tokens.zone]
token = "{CANARY}-{CANARY}-2"
expires = 2030-01-01T00:00:00
"""
ONE_OF_THE_TWO = "expected either token or sha256"


def test_mistakes_in_tokens(problems):
    """What is wrong with a token is said with its place, and never with the token."""
    found = problems(WRONG_TOKENS)
    assert CANARY not in "\n".join(found)
    assert [line.partition("; ")[0] for line in found] == [
        "agentd.toml:2: web.tokens_file: expected a path from the root, /etc/agentd/tokens.toml say",
        "agentd.toml:3: web.tokens.plain: expected a table",
        (
            "agentd.toml:5: web.tokens.short: expected a token of at least 16 characters, letters, digits and signs of "
            "ASCII without blanks"
        ),
        f"agentd.toml:8: web.tokens.none: {ONE_OF_THE_TWO}",
        f"agentd.toml:11: web.tokens.both: {ONE_OF_THE_TWO}",
        (
            "agentd.toml:15: web.tokens.hash: expected sha256 as 64 hexadecimal digits, such as "
            "`printf %s TOKEN | sha256sum` prints"
        ),
        (
            'agentd.toml:20: web.tokens.scope.scopes[0]: expected one of "metrics:read", "events:read", '
            '"events:write", "robots:write", "admin"'
        ),
        "agentd.toml:24: web.tokens.zone.expires: expected a moment with its time zone",
    ]


def test_a_token_belongs_to_one(problems):
    """Two principals with one token are an error, though one has it as its digest."""
    [problem] = problems(
        f"[web.tokens]\nb.token = '{CANARY * 2}'\na.sha256 = '{hashlib.sha256((CANARY * 2).encode()).hexdigest()}'\n"
    )
    assert problem == 'agentd.toml:3: web.tokens.a: the same token as "b": give each one of its own'


def test_tokens_are_what_they_are_written_as(resolved, monkeypatch):
    """A token may stand in the environment, a moment in quotes or without; nothing shows the token."""
    monkeypatch.setenv("TOKEN", CANARY * 2)
    for moment in ("2030-01-31T12:00:00Z", "'2030-01-31T14:00:00+02:00'", "2030-01-31 13:00:00+01:00"):
        settings = resolved(f"[web.tokens.a]\ntoken = {{ env = 'TOKEN' }}\nexpires = {moment}\nrobots = ['r-*']\n")
        token = settings.web.tokens["a"]
        assert token.token == Secret(CANARY * 2)
        assert (token.robots, token.scopes) == (["r-*"], ["robots:write"])
        assert token.expires.timestamp() == 1_896_091_200
        assert CANARY not in f"{settings.web!r}{show(settings)}"
        assert 'tokens.a.token = { env = "TOKEN" }' in show(settings)
        assert tomli.loads(show(settings))["web"]["tokens"]["a"]["expires"]


def test_core_options_that_contradict_each_other(problems):
    """What a section of the core refuses as a whole is said with its place, beside other mistakes."""
    assert problems("\n[journal]\nmax_age = '0s'\n[web]\nlisten = ['x']\n") == [
        "agentd.toml:2: journal: max_age must be longer than 0s",
        'agentd.toml:5: web.listen[0]: expected HOST:PORT, [IPv6]:PORT or :PORT, such as "127.0.0.1:9797"; found "x"',
    ]

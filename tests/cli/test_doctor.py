"""``agentd doctor``: its checks on facts, and the whole of it with and without an agent."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agentd.cli.doctor import lines
from agentd.cli.doctor.checks import CHECKS, DAC_OVERRIDE, DAC_READ_SEARCH, examine, may, older
from agentd.cli.doctor.facts import Address, Disk, Facts, File, Library, Owned, Trial, User
from agentd.cli.doctor.trial import asked, trial
from agentd.config import read, resolve
from agentd.registry import Registry
from agentd.status import PluginStatus, Status

AGENT = User(uid=990, groups=frozenset((990, 991)), name="agentd")
STATE = Owned("/var/lib/agentd", 0o750, 990, 990)
STATUS = Status(
    version="1.0", pid=7, started_at=0.0, uptime_seconds=1.0, ready=True, listen=["127.0.0.1:9797"], config_files=[],
    state_directory="/var/lib/agentd", plugins=[], disabled={},
)  # fmt: skip
WELL = Facts(
    version="1.0",
    python="3.11.2",
    status=STATUS,
    user=AGENT,
    files=(File("configuration", "/etc/agentd.toml", owned=Owned("/etc/agentd.toml", 0o644)),),
    state=File("state directory", STATE.path, owned=STATE),
    kept=File("kept configuration", "/var/lib/agentd/configuration.json", error="it is not there"),
    socket=File("socket", "/run/agentd.sock", owned=Owned("/run/agentd.sock", 0o660, 990, 990)),
    synchronised=True,
    disk=Disk(free=1 << 33, journal=1 << 20, largest=256 << 20),
    addresses=(Address("127.0.0.1:9797", 9797, held=True),),
    libraries=(Library("aiohttp", "3.14", "3.15.1"),),
    descriptors=65536,
    open_descriptors=40,
)


def file(mode, *, uid=0, gid=0, confidential=False, folders=(), error=""):
    """Return facts with a file of this mode."""
    owned = None if error else Owned("/etc/secret", mode, uid, gid)
    one = File("sinks.fleet.password", "/etc/secret", confidential, owned, folders, error)
    return {"files": (one,)}


def disk(**fields):
    """Return facts with such a disk."""
    return {"disk": replace(WELL.disk, **fields)}


def test_where_all_is_well():
    """Every check says so, and none gives advice."""
    found = examine(WELL)
    assert {finding.level for finding in found} == {"ok"}
    assert not any(finding.advice for finding in found)
    assert len(found) >= len(CHECKS)


REFUSED = PluginStatus(plugin="collectors.rapl", up=True, reason="", last_run="no data", refused=True, error="needs it")
FAILING = PluginStatus(plugin="collectors.x", up=True, reason="", last_run="failed", error="no")


@pytest.mark.parametrize(
    ("fields", "check", "level", "words"),
    [
        ({"status": None, "unreachable": "no agent answers at x"}, "agent", "warn", "no agent answers at x"),
        ({"status": replace(STATUS, plugins=[FAILING])}, "agent", "bad", "1 collector fails"),
        ({"version": "1.1"}, "version", "warn", "the agent that runs is 1.0, what is installed is 1.1"),
        ({"problems": ("x.toml:3: no such section",)}, "configuration", "bad", "x.toml:3: no such section"),
        ({"broken": {"sinks.x": "ImportError"}}, "plugins", "bad", "sinks.x cannot be loaded: ImportError"),
        ({"tokens_problem": "t.toml: no such file"}, "tokens", "bad", "no such file"),
        (file(0o640, gid=5), "files", "bad", "user agentd may not read /etc/secret"),
        (file(0o644, confidential=True), "files", "warn", "everybody may read /etc/secret (mode 0644)"),
        (file(0, error="/etc/secret: no such file"), "files", "bad", "no such file"),
        (file(0o644, folders=(Owned("/", 0o755), Owned("/etc", 0o700))), "files", "bad", "may not enter /etc,"),
        ({"plain_secrets": {"sinks.fleet.password": "/etc/agentd.toml"}}, "secrets", "bad", "everybody may read"),
        ({"state": File("s", "/var/lib/agentd", owned=replace(STATE, uid=0))}, "state directory", "bad", "not write"),
        ({"state": File("s", "/v", owned=replace(STATE, mode=0o755))}, "state directory", "warn", "may look into /v"),
        ({"state": File("s", "/v", error="gone")}, "state directory", "warn", "gone"),
        ({"kept": File("k", "/c", owned=Owned("/c", 0o640, 990))}, "state directory", "bad", "may hold passwords"),
        ({"socket": File("s", "/s", owned=Owned("/s", 0o666))}, "socket", "bad", "everybody may steer the agent"),
        ({"status": None}, "socket", "warn", "nobody answers"),
        ({"synchronised": False}, "clock", "warn", "not synchronised"),
        ({"synchronised": None}, "clock", "warn", "cannot be found out"),
        (disk(read_only=True), "disk", "bad", "mounted read-only"),
        (disk(no_files_left=True), "disk", "bad", "no further file"),
        (disk(free=1 << 20), "disk", "bad", "1 MiB are free"),
        (disk(free=100 << 20), "disk", "warn", "may grow by 255 MiB"),
        ({"addresses": (Address(":80", 80),), "status": None}, "ports", "bad", "may not listen below 1024"),
        ({"addresses": (Address(":1", 9797, error="taken"),)}, "ports", "bad", "taken"),
        ({"addresses": (Address(":9000", 9000),)}, "ports", "warn", "the agent does not listen there"),
        ({"libraries": (Library("redis", "5.2", None, "redis", ("sinks.a",)),)}, "versions", "bad", "sinks.a needs"),
        ({"libraries": (Library("redis", "5.10", "5.9"),)}, "versions", "warn", "5.9"),
        ({"status": replace(STATUS, plugins=[REFUSED])}, "privileges", "warn", "rapl tells nothing: needs it"),
        ({"status": None, "trial": Trial(9, {"collectors.rapl": "needs it"})}, "privileges", "warn", "rapl tells noth"),
        ({"status": None, "trial": Trial(9, {}, {"collectors.x": "broken"})}, "collectors", "warn", "x fails as u"),
        ({"status": None, "trial": Trial(error="no fork")}, "privileges", "warn", "cannot be found out: no fork"),
        ({"descriptors": 512}, "limits", "bad", "512 files"),
        ({"descriptors": 2048}, "limits", "warn", "2048 files"),
        ({"open_descriptors": 65000}, "limits", "bad", "65000 are"),
    ],
)  # fmt: skip
def test_what_is_found(fields, check, level, words):
    """Each thing that is not as it should be is found by its check, with what to do, and nothing else is blamed."""
    found = [finding for finding in examine(replace(WELL, **fields)) if finding.level != "ok"]
    assert [(finding.check, finding.level) for finding in found if words in finding.text] == [(check, level)]
    assert all(finding.advice for finding in found)
    assert {finding.check for finding in found} <= {check, "agent", "socket"}


@pytest.mark.parametrize(
    ("user", "mode", "bit", "allowed"),
    [
        (AGENT, 0o400, 4, False),
        (AGENT, 0o040, 4, True),
        (AGENT, 0o004, 4, False),  # who is in the group is not everybody
        (replace(AGENT, groups=frozenset()), 0o004, 4, True),
        (replace(AGENT, uid=1), 0o077, 4, False),  # the owner is neither
        (replace(AGENT, uid=0), 0, 2, True),
        (replace(AGENT, capabilities=DAC_READ_SEARCH), 0, 4, True),
        (replace(AGENT, capabilities=DAC_READ_SEARCH), 0, 2, False),
        (replace(AGENT, capabilities=DAC_OVERRIDE), 0, 2, True),
    ],
)
def test_who_may_do_what(user, mode, bit, allowed):
    """A mode means to a user what it means to the kernel: owner, group or others, in this order, and capabilities."""
    assert may(user, Owned("/x", mode, 1, 991), bit) == allowed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try how it is for another user")
@given(mode=st.integers(0, 0o777), uid=st.sampled_from([1, 990]), gid=st.sampled_from([1, 990, 991]))
@settings(max_examples=40, deadline=None)
def test_the_kernel_agrees(tmp_path_factory, mode, uid, gid):
    """What is said of a mode is what the kernel does when that user opens the file."""
    path = tmp_path_factory.mktemp("files") / "file"
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        folder.chmod(0o755)
    path.touch()
    path.chmod(mode)
    os.chown(path, uid, gid)
    script = ["/bin/sh", "-c", 'test -r "$1"; r=$?; test -w "$1"; echo $r $?', "sh", str(path)]
    answer = subprocess.run(script, user=990, group=990, extra_groups=[991], capture_output=True, check=True).stdout
    owned = Owned(str(path), mode, uid, gid)
    assert answer.split() == [b"0" if may(AGENT, owned, bit) else b"1" for bit in (4, 2)]


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_versions_are_compared_by_their_numbers(one, other):
    """Versions are older by their numbers, not by their letters; what follows the numbers does not count."""
    assert older(".".join(map(str, one)) + ".rc1", ".".join(map(str, other))) == (one < other)


def test_lines_fit_and_the_worst_comes_first(monkeypatch):
    """On 80 columns every line fits; what is bad stands above what is well, and what to do below it."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = lines(examine(replace(WELL, problems=("nonsense \x1b[31m" * 20,), synchronised=False)))
    assert max(map(len, shown)) <= 80
    assert shown[0].startswith("bad   configuration: nonsense")
    assert [line[:4] for line in shown if line[:1] != " "] == sorted(
        (line[:4] for line in shown if line[:1] != " "), key=["bad ", "warn", "ok  "].index
    )
    assert not any("\x1b" in line for line in shown)


def doctor(command, *arguments, **keywords):
    """Run it, and return its exit status and what it found."""
    result = command("doctor", "--json", *arguments, **keywords)
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def test_without_an_agent(command, tmp_path):
    """Without an agent it looks all the same: a port that is taken and an open secret are found; exit status 1."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "agentd.toml"
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        sink = "[sinks.fleet]\nplugin='redis'\nurl='redis://localhost'\npassword={file='secret'}\n"
        config.write_text(f"web.listen=['{address}']\n{sink}[sinks.second]\nplugin='redis'\nurl='redis://localhost'\n"
                          "password='hunter3'\n")  # fmt: skip
        config.chmod(0o644)
        code, found = doctor(command, "--config", str(config))
    assert code == 1
    by_check = {(each["check"], each["level"]): each["text"] for each in found}
    assert by_check["ports", "bad"] == f"{address}: another program has this port"
    assert "sinks.fleet.password: everybody may read" in by_check["files", "warn"]
    assert "sinks.second.password stands in" in by_check["secrets", "bad"]
    assert "no agent answers" in by_check["agent", "warn"]
    assert re.match(r"of [1-9]\d+ collectors that were tried as user ", by_check["privileges", "ok"])
    assert by_check["privileges", "ok"].endswith("only a running agent can tell")
    assert "hunter" not in json.dumps(found)


def test_with_a_configuration_that_does_not_check(command, tmp_path):
    """Every error of the configuration is a finding, and all else is looked at nevertheless."""
    config = tmp_path / "agentd.toml"
    config.write_text("[collectors.cpu]\nnonsense = 1\n[sinks.x]\n")
    code, found = doctor(command, "--config", str(config))
    assert code == 1
    assert sum(each["check"] == "configuration" for each in found) == 2
    assert {"disk", "clock", "limits"} <= {each["check"] for each in found}


LACKING = '''
from agentd.plugin import Collector, Config, Refused, hookimpl

class Lacking(Collector[Config]):
    """Lacks a right."""

    name = "lacking"

    def collect(self):
        raise Refused("it needs CAP_SYS_ADMIN")

@hookimpl
def agentd_collectors():
    return [Lacking]
'''


OF_ROOT = """
import os
from agentd.plugin import Collector, Config, Family, Refused, hookimpl

class OfRoot(Collector[Config]):
    \"\"\"Tells who is root alone.\"\"\"

    name = "of_root"

    def collect(self):
        if os.geteuid() or os.getegid() or 0 in os.getgroups():
            raise Refused(f"user {os.geteuid()} is not root")
        return [Family.gauge("root", "Root.", 1)]

class Ends(Collector[Config]):
    \"\"\"Takes the process with it.\"\"\"

    name = "ends"

    def collect(self):
        os._exit(3)

@hookimpl
def agentd_collectors():
    return [OfRoot, Ends]
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_collectors_are_tried_as_another_user(tmp_path):
    """Without an agent collectors are asked as its user, in a process whose end is not the doctor's."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "of_root.py").write_text(OF_ROOT)
    config = tmp_path / "agentd.toml"
    config.write_text(f"[agent]\nplugin_dirs = ['{tmp_path}/plugins']\n[collectors]\nenable=['uname']\n")
    registry = Registry([str(tmp_path / "plugins")])
    settings = resolve(read(config), registry)
    by_name = {each.name: each for each in settings.instances}
    nobody, root = User(65534, frozenset({65534})), User(0, frozenset({0}))
    tried = [by_name["of_root"], by_name["uname"]]
    assert asked(settings, registry, tried, nobody) == Trial(2, {"collectors.of_root": "user 65534 is not root"})
    assert asked(settings, registry, tried, root) == Trial(2)
    assert asked(settings, registry, [by_name["ends"]], root) == Trial(error="they gave no answer")
    assert os.geteuid() == 0
    assert set(trial(settings, registry, root).left_out) == {"collectors.of_root", "collectors.ends"}


def test_with_an_agent(command, start_agent):
    """With an agent its own configuration is looked at, and rights that collectors lack are told."""
    agent = start_agent(plugins={"lacking": LACKING})
    environment = {name: agent.environment[name] for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")}
    code, found = doctor(command, environment=environment)
    texts = {each["text"] for each in found}
    assert code == 0, found
    assert f"process {agent.pid} answers, and all is well" in texts
    assert any("collectors.lacking tells nothing: it needs CAP_SYS_ADMIN" in text for text in texts)
    assert any(each["check"] == "files" and each["level"] == "ok" for each in found)
    # The file says port 9797, the command line that started it another: it is told that nobody listens there.
    assert any(each["check"] == "ports" for each in found)
    shown = command("doctor", environment={**environment, "COLUMNS": "80"})
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert sys.version.split()[0] in shown.stdout


def test_files_of_tables_and_listeners(command, tmp_path, free_port):
    """A key of TLS is looked at as well, and addresses that are written as tables."""
    (tmp_path / "key.pem").write_text("no key\n")
    (tmp_path / "key.pem").chmod(0o644)
    config = tmp_path / "agentd.toml"
    tls = f"tls = {{ cert_file = '{tmp_path}/none.pem', key_file = '{tmp_path}/key.pem' }}"
    config.write_text(f"[web]\nlisten = [{{ address = '127.0.0.1:{free_port}' }}]\n{tls}\n")
    _, found = doctor(command, "--config", str(config))
    texts = [each["text"] for each in found]
    assert any(text.startswith("web.tls.key_file: everybody may read") for text in texts)
    assert any(text.startswith("web.tls.cert_file: ") and "no such file" in text for text in texts)
    assert f"127.0.0.1:{free_port} is free" in texts

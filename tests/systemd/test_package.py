"""The Debian package in a Debian that was really booted: installed, upgraded, downgraded, hurt, removed, purged.

``package.sh`` does all that inside and prints what comes of it, section by section; the tests here judge.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

pytestmark = pytest.mark.systemd

PROJECT = Path(__file__).resolve().parents[2]

Sections = dict[str, str]

NEW = "99.0-1"
"""The version of the package that stands for a newer one."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, server_binary: Callable[[str], str]) -> Path:
    """The package, as ``make deb`` builds it on this machine."""
    server_binary("dpkg-deb")
    done = subprocess.run(
        [PROJECT / "debian" / "build", tmp_path_factory.mktemp("built")],
        env={**os.environ, "BUILDER": sys.executable},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def host(
    boot: Callable[..., Sections],
    package: Path,
    unused_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sections:
    """What the script inside the booted host printed, by section."""
    if "+deb12_" not in package.name:
        pytest.skip(f"the host that is booted is a Debian 12, and {package.name} is for another")
    given = tmp_path_factory.mktemp("given")
    shutil.copy(package, given / "old.deb")
    tree = tmp_path_factory.mktemp("tree") / "root"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub("(?m)^Version: .*", f"Version: {NEW}", control.read_text()))
    with (tree / "etc/agentd/agentd.toml").open("a") as file:
        # Only where both have changed a conffile is there something to decide.
        file.write("# of the new version\n")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, given / "new.deb"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (port,) = unused_ports(1)
    return boot("package.sh", given, PORT=port)


def test_documents_name_what_is_there(package: Path, tmp_path: Path) -> None:
    """Whatever the documents in the package refer to is in it: each other, dashboards, alerts, drop-ins."""
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    documents = list((tmp_path / "usr/share/doc/agentd").rglob("*.md"))
    links = {
        (document.name, link): (document.parent / link).exists()
        for document in documents
        for link in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", document.read_text())
    }
    assert {link for _, link in links} >= {"../etc/grafana/host.json", "../etc/prometheus/alerts.yml", "security.md"}
    assert [link for link, there in links.items() if not there] == []


def properties(section: str) -> dict[str, str]:
    """Return the lines of ``systemctl show``."""
    return dict(line.split("=", 1) for line in section.splitlines() if "=" in line)


def events(section: str) -> list[dict[str, object]]:
    """Return the events that a section lists, one a line."""
    return [json.loads(line) for line in section.splitlines() if line.startswith("{")]


def test_lintian_finds_no_error(package: Path) -> None:
    """Debian's own checker has no error to name but for those that debian/lintian-overrides gives reasons for."""
    lintian = shutil.which("lintian")
    if lintian is None:
        pytest.skip("lintian is not installed (a Debian package of this name has it)")
    done = subprocess.run(
        [lintian, "--allow-root", "--fail-on=error", package], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_installing_starts_the_service(host: Sections) -> None:
    """It installs without a network, and runs as its own user, now and at each boot; every file is as it was built."""
    state = properties(host["state"])
    assert (state["ActiveState"], state["SubState"], state["UnitFileState"]) == ("active", "running", "enabled")
    assert state["User"] == "agentd"
    assert "does not run" not in host["installed"]
    *_, conffile, user = host["state"].strip().splitlines()
    assert re.fullmatch(r" /etc/agentd/agentd\.toml [0-9a-f]{32}", conffile)
    assert user.endswith("/var/lib/agentd:/usr/sbin/nologin")
    assert "5?" not in host["state"], "dpkg --verify names a file that is not as it was built"


def test_the_status_says_what_it_does(host: Sections) -> None:
    """``systemctl status`` shows collectors, series and events."""
    assert re.match(r"\d+ collectors, \d{3,} series; \d+ events", properties(host["state"])["StatusText"])


def test_it_is_watched_and_tried_for_ever(host: Sections) -> None:
    """There is a watchdog, no limit to how often it is started, and one to memory and tasks."""
    state = properties(host["state"])
    assert (state["WatchdogUSec"], state["StartLimitIntervalUSec"]) == ("30s", "0")
    assert (state["MemoryHigh"], state["MemoryMax"], state["TasksMax"]) == (f"{384 << 20}", f"{512 << 20}", "256")


def test_it_is_scraped(host: Sections, capsys: pytest.CaptureFixture[str]) -> None:
    """The collectors of the host answer, and how long the start took is shown."""
    with capsys.disabled():
        first, *later = (tuple(map(int, line.split())) for line in host["start-milliseconds"].splitlines() if line)
        wall, cpu = map(median, zip(*later, strict=True))
        print(
            f"\nsystemctl start to ready: first {first[0]} ms, then {wall:.0f} ms, {cpu:.0f} of them of CPU (medians)"
        )
    assert "\nnode_load1 " in host["metrics"]
    assert 'agentd_plugin_up{plugin="collectors.systemd"} 0' not in host["metrics"]


def test_man_pages_and_completion_are_there(host: Sections) -> None:
    """There is a page for a command and one for the configuration, and bash completes a command's name."""
    assert ".TH" in host["manual"]
    assert host["manual"].count('.TH "AGENTD') == 2
    assert host["completed"].strip() == "emit"


def test_a_credential_is_a_secret_of_the_configuration(host: Sections) -> None:
    """A file that only root may read becomes a token: its holder is known (403 beyond its scope), another is not."""
    assert host["credential"].split() == ["403", "401"]
    assert "error" not in host["check"]


def test_a_reload_keeps_the_process(host: Sections) -> None:
    """``systemctl reload`` ends when the new sink is there; it fails where the configuration is refused, and the agent
    goes on either way.
    """
    assert host["reloaded"].strip().splitlines() == ["sinks.another", "refused", "active", "the same process"]


def test_an_upgrade_loses_nothing(host: Sections) -> None:
    """The new version runs at once; what was told before and what was acknowledged meanwhile is in the journal."""
    assert host["upgraded"].strip().splitlines()[-2:] == [NEW, "another process"]
    assert len(events(host["events-after-upgrade"])) == 1
    acknowledged = {int(line) for line in host["acknowledged"].split()}
    assert len(acknowledged) == 20
    assert {event["payload"]["n"] for event in events(host["events-meanwhile"])} == acknowledged


def test_an_edited_conffile_survives(host: Sections) -> None:
    """The administrator's line is still there, and counts; the new version's file lies beside it."""
    assert host["conffile-after-upgrade"].split("\n")[:2] == ['labels = { site = "hall-3" }', "1"]
    (event,) = events(host["events-after-upgrade"])
    assert event["meta"]["labels"] == {"site": "hall-3"}


def test_going_back_works(host: Sections) -> None:
    """The older version runs again, with all events; a store that it does not know is set aside, which the log says."""
    assert host["downgraded"].strip().splitlines()[-1] != NEW
    assert len(events(host["events-after-downgrade"])) == 1
    active, *files = host["newer-store"].split()
    assert active == "active"
    assert len(files) > 2
    assert "a newer agentd made it" in host["newer-store-journal"]


def test_a_killed_agent_comes_back(host: Sections) -> None:
    """After SIGKILL, and after another, it runs again."""
    assert host["killed"].split() == ["NRestarts=1", "ActiveState=active", "NRestarts=2", "ActiveState=active"]


def test_a_blocked_loop_is_ended_by_the_watchdog(host: Sections) -> None:
    """An agent that is idle is left alone; one whose loop a plugin blocks is started again, and the log says where."""
    before, after = host["watchdog"].split("it is blocked")
    assert properties(before) == {"ActiveState": "active", "NRestarts": "0"}
    assert properties(after) == {"ActiveState": "active", "NRestarts": "1"}
    assert "Watchdog timeout" in host["watchdog-journal"]
    assert "sleeper.py" in host["watchdog-journal"]


def test_a_plugin_that_blocked_the_loop_is_left_out(host: Sections) -> None:
    """Started again after the watchdog, and once more by an operator, the agent does without it until it is resumed."""
    text = "degraded: collectors.sleeper is left out for a while: it held up the whole agent"
    first, second, up, resumed, ready = host["left-out"].strip().splitlines()
    assert first.startswith(text)
    assert second.startswith(text)
    assert up == 'agentd_plugin_up{plugin="collectors.sleeper"} 0.0'
    assert resumed.startswith("collectors.sleeper is to run again")
    assert ready == "ok"


def test_the_journal_knows_the_plugin(host: Sections) -> None:
    """Entries of one plugin are found by the field AGENTD_PLUGIN."""
    lines = host["plugin-journal"].strip().splitlines()
    assert lines
    assert set(lines) == {"collectors.sleeper: it will block"}


def test_a_port_of_systemd_refuses_nobody(host: Sections) -> None:
    """With agentd.socket a scrape starts the agent, and none is refused while it is restarted three times."""
    assert host["socket"].strip().splitlines() == ["started by a scrape: 200", "all taken"]


def test_removing_stops_it_and_keeps_what_is_the_administrators(host: Sections) -> None:
    """The process is gone and so is the program; configuration and state are kept."""
    lines = host["removed"].splitlines()
    assert "stopped" in lines
    assert [line for line in lines if line in ("active", "inactive")] == ["inactive", "inactive"]
    assert "/etc/agentd/agentd.toml" in lines
    assert "/var/lib/agentd" in lines
    assert "/usr/bin/agentd" not in lines
    assert "/opt/agentd" not in lines


def test_purging_leaves_nothing(host: Sections) -> None:
    """No file, no folder, no user, no unit has its name; and it can be installed again."""
    assert host["left"].strip() == ""
    assert host["installed-again"].strip() == "active"

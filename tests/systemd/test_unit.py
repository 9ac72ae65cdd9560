"""The unit in a Debian that was really booted: installed, started, killed, stopped, with each drop-in, misconfigured.

``guest.sh`` does all that inside and prints what comes of it, section by section; the tests here judge.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.systemd

PROJECT = Path(__file__).resolve().parents[2]

PYTHON = "3.11"
"""That of the booted Debian."""

CAPABILITIES = {
    "none": 0,
    "read-all": 1 << 2,  # CAP_DAC_READ_SEARCH, as numbered in linux/capability.h
    "perf": 1 << 38,  # CAP_PERFMON
    "gpu": 0,
    "clock": 0,
    "processes": 1 << 19 | 1 << 2,  # CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
    "all": 1 << 38 | 1 << 19 | 1 << 2,
}
"""What each drop-in is to give to the agent, and nothing else."""

Sections = dict[str, str]


@pytest.fixture(scope="module")
def host(
    boot: Callable[..., Sections],
    unused_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sections:
    """What the script inside the booted host printed, by section."""
    given = tmp_path_factory.mktemp("given")
    build_wheels(given / "wheels")
    port, root_port = unused_ports(2)
    return boot("guest.sh", given, PORT=port, ROOT_PORT=root_port)


def build_wheels(folder: Path) -> None:
    """Put agentd's wheel into a folder, with the wheels of all that it needs on the host's Python."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, PROJECT], check=True)
    (wheel,) = folder.glob("agentd-*.whl")
    target = ("--only-binary=:all:", f"--python-version={PYTHON}")
    subprocess.run([*pip, "download", *target, "--dest", folder, wheel], check=True)


def properties(section: str) -> dict[str, str]:
    """Return the lines of ``systemctl show``."""
    return dict(line.split("=", 1) for line in section.splitlines() if "=" in line)


def series(metrics: str, prefix: str = "") -> dict[str, str]:
    """Return the samples of an exposition whose name begins with a prefix: name and labels, and value."""
    lines = (line for line in metrics.splitlines() if line.startswith(prefix) and not line.startswith("#"))
    return dict(line.rsplit(" ", 1) for line in lines if line)


def families(metrics: str) -> list[str]:
    """Return the families of an exposition, with their types."""
    return sorted(line for line in metrics.splitlines() if line.startswith("# TYPE"))


def test_what_is_installed_is_in_order(host: Sections) -> None:
    """The wheel installs without a network, systemd has nothing to say about the unit, its user may not log in."""
    *said, user = host["installed"].strip().splitlines()
    assert [line for line in said if not line.startswith("Creating ")] == []
    assert re.fullmatch(r"agentd:[^:]*:\d+:\d+:[^:]+:/var/lib/agentd:/usr/sbin/nologin", user)


def test_the_wheel_brings_what_lies_elsewhere(host: Sections) -> None:
    """Unit, socket, user, drop-ins, man pages, completions and the configuration are in the wheel's shared data."""
    assert {
        "agentd/agentd.toml",
        "agentd/systemd/agentd.service",
        "agentd/systemd/agentd.socket",
        "agentd/systemd/agentd.sysusers.conf",
        "agentd/systemd/drop-ins/clock.conf",
        "bash-completion/completions/agentd",
        "fish/vendor_completions.d/agentd.fish",
        "man/man1/agentd.1",
        "man/man1/agentd-run.1",
        "man/man5/agentd.toml.5",
        "zsh/site-functions/_agentd",
    } <= set(host["shared"].split())


def test_start_waits_for_the_agent_to_be_ready(host: Sections) -> None:
    """``systemctl enable --now`` succeeds, and the service is active: the agent has told systemd that it is ready."""
    started = properties(host["started"])
    assert (started["ActiveState"], started["SubState"]) == ("active", "running")


def test_the_process_may_do_little(host: Sections) -> None:
    """The agent runs as its own user, last in line for CPU and first for the OOM killer, without any capability."""
    user, *facts = host["process"].strip().splitlines()
    assert user.split() == ["agentd", "10"]
    assert facts[0] == "500"
    assert [line.split() for line in facts[1:5]] == [
        ["CapEff:", "0" * 16],
        ["CapBnd:", "0" * 16],
        ["NoNewPrivs:", "1"],
        ["Seccomp:", "2"],
    ]
    assert facts[5] == "65536"


def test_the_folders_are_the_agents_own(host: Sections) -> None:
    """State, runtime and configuration folders exist, and only those who should get at the state and the socket can."""
    modes = host["process"].strip().splitlines()[-4:]
    assert [line.split()[1:] for line in modes] == [
        ["755", "/etc/agentd"],
        ["755", "/run/agentd"],
        ["660", "/run/agentd/agentd.sock"],
        ["750", "/var/lib/agentd"],
    ]
    assert {line.split()[0] for line in modes[1:]} == {"agentd"}


def test_only_state_and_runtime_can_be_written(host: Sections) -> None:
    """Of all folders the agent can write to two, even of those in which everybody may; its configuration is not one."""
    assert host["writable"].split() == ["/run/agentd", "/var/lib/agentd"]


def test_every_collector_succeeds_as_for_root(host: Sections) -> None:
    """Each collector says the same of its success under the unit as in an agent that root runs without any unit."""
    wanted = series(host["metrics-of-root"], "node_scrape_collector_success")
    told = series(host["metrics-of-unit"], "node_scrape_collector_success")
    assert 'node_scrape_collector_success{collector="filesystem"}' in wanted
    timex = 'node_scrape_collector_success{collector="timex"}'  # takes a drop-in: see docs/operations.md
    assert (float(wanted.pop(timex)), float(told.pop(timex))) == (1.0, 0.0)
    assert told == wanted


def test_the_unit_hides_no_series(host: Sections) -> None:
    """All families of an agent that root runs without any unit are there, and each of the host's series, but for those
    of timex, which takes a drop-in.
    """
    wanted = [family for family in families(host["metrics-of-root"]) if "node_timex_" not in family]
    assert families(host["metrics-of-unit"]) == wanted
    of_root = {name for name in series(host["metrics-of-root"], "node_") if not name.startswith("node_timex_")}
    assert series(host["metrics-of-unit"], "node_").keys() == of_root


def test_the_mounts_are_those_of_the_host(host: Sections) -> None:
    """Mounts below /home and /tmp and one that came later are seen, with the sizes and states that root sees."""
    for name in ("size_bytes", "readonly", "device_error", "files"):
        prefix = f"node_filesystem_{name}{{"
        assert series(host["metrics-of-unit"], prefix) == series(host["metrics-of-root"], prefix)
    sizes = {
        re.sub(r'.*mountpoint="([^"]*)".*', r"\1", labels): float(value) / 2**20
        for labels, value in series(host["metrics-of-unit"], "node_filesystem_size_bytes").items()
    }
    assert (sizes["/home/somebody/data"], sizes["/tmp/data"], sizes["/srv/late"]) == (11, 12, 13)
    assert {"/var/lib/agentd", "/run/agentd", "/etc/agentd"}.isdisjoint(sizes)


def test_the_hosts_new_name_is_seen(host: Sections) -> None:
    """A host that is renamed while the agent runs has its new name in the metrics."""
    assert 'nodename="renamed"' in next(iter(series(host["metrics-of-unit"], "node_uname_info")))


def test_status_answers_root(host: Sections) -> None:
    """``agentd status`` finds the service's socket by itself, and says that all is well."""
    assert "collectors.filesystem" in host["status"]
    assert "ready" in host["status"].splitlines()[0]


def test_an_agent_that_is_killed_comes_back(host: Sections) -> None:
    """After SIGKILL systemd starts the agent again, and it answers."""
    killed = properties(host["killed"])
    assert (killed["ActiveState"], killed["NRestarts"]) == ("active", "1")


def test_stop_ends_it_at_once_and_cleanly(host: Sections) -> None:
    """``systemctl stop`` ends the agent within five seconds (else the result would be a timeout) with exit status 0."""
    stopped = properties(host["stopped"])
    assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
    assert (stopped["ExecMainCode"], stopped["ExecMainStatus"]) == ("1", "0")


def test_each_drop_in_is_tried(host: Sections) -> None:
    """There is no drop-in that the guest does not start the service with."""
    drop_ins = {path.stem for path in (PROJECT / "systemd" / "drop-ins").glob("*.conf")}
    assert drop_ins == CAPABILITIES.keys() - {"none", "all"}
    assert {f"with-{name}" for name in drop_ins} < host.keys()


@pytest.mark.parametrize("name", CAPABILITIES)
def test_with_a_drop_in_the_agent_may_what_it_says(host: Sections, name: str) -> None:
    """The service comes up; the agent has the capabilities that the drop-in names, can get no others, and keeps its
    filter of system calls. All drop-ins together add up.
    """
    with_it = host[f"with-{name}"]
    started = properties(with_it)
    assert (started["ActiveState"], started["SubState"]) == ("active", "running")
    facts = dict(line.split(":\t") for line in with_it.splitlines() if ":\t" in line)
    wanted = f"{CAPABILITIES[name]:016x}"
    assert facts == {"CapEff": wanted, "CapBnd": wanted, "NoNewPrivs": "1", "Seccomp": "2"}


@pytest.mark.parametrize("name", ["read-all", "perf", "processes"])
def test_the_log_names_a_drop_in_until_it_is_there(host: Sections, name: str) -> None:
    """Without a drop-in the log says that it is needed, with it no longer; nor with all of them."""
    assert f"drop-in {name}.conf" in host["journal-with-none"]
    for key in (name, "all"):
        assert "daemon: collectors: " in host[f"journal-with-{key}"]
        assert f"drop-in {name}.conf" not in host[f"journal-with-{key}"]


def test_read_all_opens_what_only_root_may_read(host: Sections) -> None:
    """Energy, serial numbers, kernel caches, and the size of a mount in a folder of root's take the drop-in.

    The kernel's caches and the mount are real; energy and serial number are files of root's with the modes of the
    kernel's own, because the machine that runs this need not have them. Kernel parameters that only root may read stay
    closed, as the drop-in says.
    """
    for name, opened in (("none", False), ("read-all", True), ("all", True)):
        metrics = host[f"metrics-with-{name}"]
        assert bool(series(metrics, "node_rapl_package_joules_total")) == opened
        assert bool(series(metrics, "node_slabinfo_objects")) == opened
        assert ('product_serial="secret"' in next(iter(series(metrics, "node_dmi_info")))) == opened
        [mount] = [
            labels for labels in series(metrics, "node_filesystem_device_error") if "/srv/private/data" in labels
        ]
        assert ('device_error=""' in mount) == opened
        assert "node_sysctl_kernel_threads_max" in series(metrics)
        assert "node_sysctl_kernel_cad_pid" not in series(metrics)


def test_perf_lets_events_be_counted(host: Sections) -> None:
    """Page faults are counted with the drop-in only; tracepoints, whose numbers only root may read, with read-all too.

    What the CPU itself counts is not looked for: virtual machines count nothing.
    """
    faults, forks = 'node_perf_page_faults_total{cpu="0"}', 'node_perf_sched_sched_process_fork{cpu="0"}'
    told = {name: series(host[f"metrics-with-{name}"], "node_perf_").keys() for name in CAPABILITIES}
    assert {name for name in told if faults in told[name]} == {"perf", "all"}
    assert {name for name in told if forks in told[name]} == {"all"}


def test_clock_lets_the_clock_be_asked(host: Sections) -> None:
    """The clock's discipline is told with the drop-in only, and then all of it that root is told."""
    told = {name for name in CAPABILITIES if series(host[f"metrics-with-{name}"], "node_timex_")}
    assert told == {"clock", "all"}
    wanted = series(host["metrics-of-root"], "node_timex_")
    assert series(host["metrics-with-clock"], "node_timex_").keys() == wanted.keys()


def test_gpu_shows_the_devices(host: Sections) -> None:
    """NVIDIA's devices are in sight with the drop-in only, and systemd has taken in which may be opened.

    A file in /dev stands for the device. Whether it could be opened cannot be seen here: that takes the driver, and in
    the booted host, whose control groups of devices cannot be written, no device is refused to anybody.
    """
    for name, seen in (("none", False), ("gpu", True), ("all", True)):
        devices = host[f"devices-with-{name}"].splitlines()
        assert ("/dev/nvidiactl" in devices) == seen
        assert ("DeviceAllow=char-nvidia* rw" in devices) == seen


def test_processes_opens_those_of_other_users(host: Sections) -> None:
    """Input and output of all processes can be read with the drop-in only, and those are seen that /proc hides."""
    partial = {
        name: float(series(host[f"metrics-with-{name}"])["namedprocess_scrape_partial_errors"])
        for name in (*CAPABILITIES, "hidden-processes")
    }
    assert {name for name in partial if partial[name] == 0} == {"processes", "all", "hidden-processes"}
    hidden, seen = (
        float(series(host[f"metrics-with-{name}"])["node_processes_pids"]) for name in ("hidden", "hidden-processes")
    )
    assert hidden == 1  # the agent itself
    assert seen > 3


def test_a_typo_does_not_make_blind(host: Sections) -> None:
    """With a broken configuration the service starts with the one before, and says so."""
    fallen_back = properties(host["fallen-back"])
    assert (fallen_back["ActiveState"], fallen_back["SubState"]) == ("active", "running")
    assert "THE CONFIGURATION HAS ERRORS" in fallen_back["StatusText"]
    assert "degraded" in host["fallen-back"]


def test_a_broken_configuration_is_not_tried_again(host: Sections) -> None:
    """Where there is none before, a broken configuration ends the agent with status 78, and systemd leaves it at that;
    the journal says why.
    """
    broken = properties(host["broken"])
    assert "started all the same" not in host["broken"]
    assert (broken["ActiveState"], broken["SubState"], broken["Result"]) == ("failed", "failed", "exit-code")
    assert (broken["ExecMainStatus"], broken["NRestarts"]) == ("78", "0")
    assert "/etc/agentd/agentd.toml" in host["journal"]


def test_the_exposure_stays_low(host: Sections, capsys: pytest.CaptureFixture[str]) -> None:
    """``systemd-analyze security`` gives the unit 2.0 or better, and the figure is shown."""
    with capsys.disabled():
        print(f"\nsystemd-analyze security: {host['exposure'].strip()}")
    match = re.search(r"exposure level for agentd\.service: ([0-9.]+)", host["exposure"])
    assert match
    assert float(match[1]) <= 2.0

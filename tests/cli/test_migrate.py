"""``agentd migrate``."""

import subprocess
import sys
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from agentd.cli.migrate import Migration, assignments, command_line, snake
from agentd.registry import Registry


@pytest.fixture(scope="module")
def registry():
    return Registry()


def migrated(registry, *words):
    """Return the configuration that flags come to, and the remarks."""
    result = Migration(registry).take(words)
    return tomllib.loads("\n".join(result.lines())), result.remarks


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--path.procfs=/host/proc", "--path.udev.data", "/u"], {"host": {"procfs": "/host/proc", "udev_data": "/u"}}),
        (["--no-collector.cpu"], {"collectors": {"disable": ["cpu"]}}),
        (["--collector.cpu"], {}),
        (["--collector.cpu.info"], {"collectors": {"cpu": {"info": True}}}),
        (["--no-collector.cpu.guest"], {"collectors": {"cpu": {"guest": False}}}),
        (["-collector.cpu.info-flags-include", "^a$"], {"collectors": {"cpu": {"info_flags_include": "^a$"}}}),
        (["--collector.cpu.info.flags-include=^a$"], {"collectors": {"cpu": {"info_flags_include": "^a$"}}}),
        (["--collector.netdev.device-blacklist=^lo$"], {"collectors": {"netdev": {"device_exclude": "^lo$"}}}),
        (["--collector.netclass_rtnl.with-stats"], {"collectors": {"netclass": {"rtnl_with_stats": True}}}),
        (
            ["--collector.powersupply.ignored-supplies=^B"],
            {"collectors": {"powersupplyclass": {"ignored_supplies": "^B"}}},
        ),
        (
            ["--collector.qdisk.device-include=^e", "--collector.qdisc"],
            {"collectors": {"enable": ["qdisc"], "qdisc": {"device_include": "^e"}}},
        ),
        (
            [r"--collector.netdev.device-exclude=^v[[:xdigit:]_]+\z"],
            {"collectors": {"netdev": {"device_exclude": r"^v[0-9A-Fa-f_]+\Z"}}},
        ),
        (["--collector.netdev.device-exclude="], {"collectors": {"netdev": {"device_exclude": ""}}}),
        (["--collector.filesystem.stat-workers=2"], {"collectors": {"filesystem": {"stat_workers": 2}}}),
        (
            ["--collector.textfile.directory=/a", "--collector.textfile.directory", "/b c"],
            {"collectors": {"textfile": {"directory": ["/a", "/b c"]}}},
        ),
        (["--web.telemetry-path=/m"], {"exporters": {"prometheus": {"path": "/m"}}}),
        (["--web.max-requests=3"], {"exporters": {"prometheus": {"max_requests": 3}}}),
        (["--log.level=warn", "--log.format=json"], {"agent": {"log_level": "warning", "log_format": "json"}}),
    ],
)
def test_flags_become_settings(registry, words, expected):
    """Each flag has its equal, however it is written; and Prometheus finds the agent where it found the other."""
    assert migrated(registry, *words) == ({**expected, "web": {"listen": [":9100"]}}, [])


FLAGS = """
arp arp.device-exclude arp.device-include arp.netlink bcache bcache.priorityStats bcachefs bonding btrfs
buddyinfo cgroups conntrack cpu cpu.guest cpu.info cpu.info.bugs-include cpu.info.flags-include
cpu_vulnerabilities cpufreq diskstats diskstats.device-exclude diskstats.device-include dmi dmmultipath drbd drm
edac entropy ethtool ethtool.device-exclude ethtool.device-include ethtool.metrics-include fibrechannel filefd
filesystem filesystem.fs-types-exclude filesystem.fs-types-include filesystem.mount-points-exclude
filesystem.mount-points-include filesystem.mount-timeout filesystem.stat-workers hwmon hwmon.chip-exclude
hwmon.chip-include hwmon.sensor-exclude hwmon.sensor-include infiniband infiniband.device-exclude
infiniband.device-include interrupts interrupts.include-zeros interrupts.name-exclude interrupts.name-include
ipvs ipvs.backend-labels kernel_hung ksmd lnstat loadavg logind mdadm meminfo meminfo_numa mountstats netclass
netclass.ignore-invalid-speed netclass.ignored-devices netclass.netlink netclass_rtnl.with-stats netdev
netdev.address-info netdev.device-exclude netdev.device-include netdev.enable-detailed-metrics
netdev.label-ifalias netdev.netlink netstat netstat.fields network_route nfs nfsd ntp ntp.ip-ttl
ntp.local-offset-tolerance ntp.max-distance ntp.protocol-version ntp.server ntp.server-is-local ntp.server-port
nvme nvmesubsystem os pcidevice pcidevice.idsfile pcidevice.names perf perf.cache-profilers perf.cpus
perf.disable-cache-profilers perf.disable-hardware-profilers perf.disable-software-profilers
perf.hardware-profilers perf.software-profilers perf.tracepoint powersupply.ignored-supplies powersupplyclass
pressure processes qdisc qdisc.device-exclude qdisc.device-include qdisc.fixtures qdisk.device-exclude
qdisk.device-include rapl rapl.enable-zone-label runit runit.servicedir schedstat selinux slabinfo
slabinfo.slabs-exclude slabinfo.slabs-include sockstat softirqs softnet stat stat.softirq supervisord
supervisord.url swap sysctl sysctl.include sysctl.include-info systemd systemd.enable-restarts-metrics
systemd.enable-start-time-metrics systemd.enable-task-metrics systemd.unit-exclude systemd.unit-include
tapestats tapestats.ignored-devices tcpstat textfile textfile.directory thermal_zone time timex udp_queues uname
vmstat vmstat.fields watchdog wifi wifi.fixtures xfrm xfs zfs zoneinfo
"""
"""What node_exporter, from 1.5 on, knows behind ``--collector.`` on Linux."""

WITHOUT = {"ntp", "runit", "supervisord", "qdisc.fixtures", "wifi.fixtures"}
"""What of it has no equal: collectors that are deprecated there, and what only its own tests use."""


@pytest.mark.parametrize("flag", FLAGS.split())
def test_each_flag_of_a_collector_comes_to_an_option_or_a_remark(registry, flag):
    """No flag is lost: what it comes to is a collector or an option that exists, or the reason stands in a comment."""
    result = Migration(registry).take([f"--collector.{flag}", "1"])
    options = {
        (table, option) for table, found in result.tables.items() for option in found if table.startswith("collectors.")
    }
    known = {
        (f"collectors.{name}", option.name)
        for name in registry.names("collectors")
        for option in fields(registry.config_type("collectors", name))
    }
    remarks = [remark for remark in result.remarks if remark != "1: is no flag"]
    if {flag, flag.partition(".")[0]} & WITHOUT:
        assert [remark.partition(":")[0] for remark in remarks] == [f"--collector.{flag}"]
        assert not options
    else:
        assert not remarks
        assert bool(options & known) == ("." in flag)


def test_each_option_has_a_flag(registry):
    """An option of a collector is found by its own name in the manner of flags."""
    for name in registry.names("collectors"):
        for option in fields(registry.config_type("collectors", name)):
            word = f"--collector.{name}.{option.name.replace('_', '-')}"
            result = Migration(registry).take([word, "1"])
            assert option.name in result.tables[f"collectors.{name}"], word


def test_addresses_add_up(registry):
    """Several addresses are all listened on, and the default is not."""
    configuration, _ = migrated(registry, "--web.listen-address=127.0.0.1:1", "--web.listen-address=[::1]:2")
    assert configuration["web"] == {"listen": ["127.0.0.1:1", "[::1]:2"]}


def test_only_what_is_named_runs_without_defaults(registry):
    """Without defaults all are off that are not named; options of one that is off do not switch it on."""
    flags = ("--collector.disable-defaults", "--collector.cpu", "--collector.netdev.device-include=x")
    collectors = migrated(registry, *flags)[0]["collectors"]
    assert set(collectors["disable"]) == {*registry.defaults("collectors")} - {"cpu"}
    assert collectors["netdev"] == {"device_include": "x", "enabled": False}


@pytest.mark.parametrize(
    ("word", "remark"),
    [
        ("--collector.wrong", "agentd has no collector wrong"),
        ("--collector.cpu.wrong=1", "the collector cpu has no option wrong"),
        ("--web.config.file=x", "agentd has no TLS"),
        ("--runtime.gomaxprocs=1", "needs no equal"),
        ("--wrong", "is no flag that agentd knows"),
        ("wrong", "is no flag"),
        ("--path.procfs", "lacks its value"),
        ("--collector.netclass.ignored-devices=", "leaves everything out in node_exporter"),
        ("--collector.powersupply.ignored-supplies=", "leaves everything out in node_exporter"),
        ("--collector.netdev.device-exclude", "lacks its value"),
    ],
)
def test_what_has_no_equal_is_said(registry, word, remark):
    """A flag that comes to nothing is named in a comment, with the reason."""
    _, (said,) = migrated(registry, word)
    assert said.startswith(f"{word}: {remark}")


@pytest.mark.parametrize(
    ("flag", "option"),
    [("info.flags-include", "info_flags_include"), ("priorityStats", "priority_stats"), ("guest", "guest")],
)
def test_options_are_flags_in_snake_case(flag, option):
    """Dots, dashes and capitals become underscores."""
    assert snake(flag) == option


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--a=1 --b 'x y'\n", ["--a=1", "--b", "x y"]),
        ("# Flags.\nARGS=\"--a=1 \\\n --b='x y'\"\n", ["--a=1", "--b=x y"]),
        ("OPTIONS=--a\n", ["--a"]),
        ('ARGS=""\n', []),
        ("NAME=x\nOPTIONS='--a'\n", ["--a"]),
        ("/usr/bin/node_exporter --a\n", ["--a"]),
        # Debian's file says itself: under systemd, four backslashes are one.
        ("ARGS=\"--a=\\\\\\\\d+$ --b='x|\\\\\\\\.y'\"\n", [r"--a=\d+$", r"--b=x|\.y"]),
        (
            "[Service]\nExecStart=/n --a=${ARGS} \\\n  # --b\n --c='^/(x|y)($$|/)' --d=\\\\d\\d%%\n",
            ["--a=--c --d", "--c=^/(x|y)($|/)", r"--d=\d\d%"],
        ),
        (
            "[Service]\nExecStart=-/usr/bin/node_exporter --a \\\n  --b=2 $ARGS ${MORE}\n",
            ["--a", "--b=2", "--c", "--d"],
        ),
    ],
)
def test_flags_are_found_in_files(text, words):
    """A unit, a file of variables and a bare command line give the words that the program would have got."""
    assert command_line(text, {"ARGS": "--c --d"}) == words


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\\"), max_size=10), max_size=5))
def test_any_command_line_is_taken(words):
    """Whatever the words, they become a configuration that is TOML, and nothing is passed over in silence."""
    registry = Registry()
    configuration, remarks = migrated(registry, *(f"--{word}" for word in words))
    assert configuration["web"]
    assert len(remarks) <= len(words)


def test_assignments_lose_their_quotes():
    """Names and values are told apart, comments are passed over."""
    assert assignments("# a=1\nexport A='x'\nB=\"y z\"\nC=w\n") == {"A": "x", "B": "y z", "C": "w"}


def run(*arguments):
    """Run the command."""
    command = [sys.executable, "-m", "agentd", "migrate", "node-exporter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_unit_is_migrated_with_its_environment(tmp_path):
    """The unit's file of variables is read, and what comes out is accepted by `agentd check`."""
    (tmp_path / "defaults").write_text("ARGS=\"--collector.netdev.device-exclude='^veth'\"\n")
    (tmp_path / "unit").write_text(
        f"[Service]\nEnvironmentFile={tmp_path}/defaults\nExecStart=/bin/node_exporter $ARGS --no-collector.os\n"
    )
    result = run(str(tmp_path / "unit"))
    assert result.returncode == 0, result.stderr
    assert tomllib.loads(result.stdout) == {
        "collectors": {"disable": ["os"], "netdev": {"device_exclude": "^veth"}},
        "web": {"listen": [":9100"]},
    }
    (tmp_path / "agentd.toml").write_text(result.stdout)
    check = [sys.executable, "-m", "agentd", "check", "--config", str(tmp_path / "agentd.toml")]
    assert subprocess.run(check, capture_output=True, check=False, timeout=60).returncode == 0


def test_an_environment_that_is_no_text_costs_only_itself(tmp_path):
    """A file of variables that is no UTF-8 is named, even an optional one, and the unit's other flags are migrated."""
    (tmp_path / "defaults").write_bytes(b"ARGS=--collector.netdev.device-exclude=\xff\n")
    (tmp_path / "unit").write_text(
        f"[Service]\nEnvironmentFile=-{tmp_path}/defaults\nExecStart=/bin/node_exporter $ARGS --no-collector.os\n"
    )
    result = run(str(tmp_path / "unit"))
    assert result.returncode == 0, result.stderr
    assert tomllib.loads(result.stdout)["collectors"] == {"disable": ["os"]}
    assert "defaults, which" in result.stderr


def test_a_value_that_would_be_refused_is_said_at_once():
    """A flag whose value agentd cannot take is an error that names the option."""
    result = run("--", "--collector.netdev.device-exclude=(")
    assert result.returncode == 1
    assert "collectors.netdev.device_exclude: expected a regular expression" in result.stderr


def test_a_value_of_the_program_that_is_none_is_said():
    """A level that node_exporter knows no more is no unknown flag: what would be right is said."""
    result = run("--", "--log.level=fatal", "--web.max-requests=many")
    assert result.returncode == 1
    assert "agent.log_level: expected" in result.stderr
    assert "exporters.prometheus.max_requests: expected" in result.stderr


@pytest.mark.parametrize(
    "text", ["[Service]\nType=simple\n", 'ARGS="--a=\'"\n', "[Service]\nEnvironment='A=1\nExecStart=/bin/x $A\n"]
)
def test_a_file_without_a_command_line_is_said(tmp_path, text):
    """A unit without ExecStart=, and a quotation mark without another, are one line and status 1."""
    (tmp_path / "file").write_text(text)
    result = run(str(tmp_path / "file"))
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "cannot understand the command line" in result.stderr


def test_a_file_that_is_not_there_is_said(tmp_path):
    """A file that cannot be read is one line and status 1."""
    result = run(str(tmp_path / "nothing"))
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "cannot read" in result.stderr

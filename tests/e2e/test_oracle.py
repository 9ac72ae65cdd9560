"""Held against what a real node_exporter answered in its own end-to-end run (../shared/node_exporter)."""

import re
import subprocess
import sys

import pytest

COLLECTORS = (
    "cpu",
    "diskstats",
    "filefd",
    "loadavg",
    "meminfo",
    "netdev",
    "os",
    "pressure",
    "stat",
    "textfile",
    "vmstat",
)
"""Those that exist in agentd and in that run; filesystem and uname are switched off there, time is of the moment."""

PREFIXES = (
    "node_cpu_seconds_total node_cpu_guest_seconds_total node_cpu_info node_cpu_flag_info node_cpu_bug_info "
    "node_cpu_core_throttles_total node_cpu_package_throttles_total node_cpu_isolated node_cpu_online "
    "node_disk_ node_filefd_ node_load node_os_ node_pressure_ node_textfile_ node_vmstat_ "
    "node_boot_time_seconds node_context_switches_total node_forks_total node_intr_total node_procs_running "
    "node_procs_blocked node_softirqs_total"
).split()

LIVE = re.compile(r"^node_network_(receive|transmit)_(bytes|packets)_total")
"""What the loopback interface of this machine has carried by now; that run, too, leaves it out of its comparison."""


@pytest.fixture(scope="module")
def actual(shared, tmp_path_factory):
    """Return what agentd collects from the files of that run, with its settings, as a file."""
    folder = tmp_path_factory.mktemp("oracle")
    source = shared / "node_exporter"
    subprocess.run(["tar", "-xzf", str(source / "fixtures.tar.gz"), "-C", str(folder)], check=True)
    text = (source / "agentd.toml").read_text().replace("@FIXTURES@", str(folder))
    text = re.sub(r"enable = \[.*?\]", f"enable = {list(COLLECTORS)}", text, flags=re.DOTALL)
    text = re.sub(r"disable = \[.*?\]", 'disable = ["filesystem", "uname"]', text)
    for name in re.findall(r"^\[collectors\.(\w+)\]", text, flags=re.MULTILINE):
        if name not in COLLECTORS:  # comes with a later version
            text = re.sub(rf"^\[collectors\.{name}\]\n(?:(?!\[).*\n)*", "", text, flags=re.MULTILINE)
    configuration = folder / "agentd.toml"
    configuration.write_text(text)
    command = [sys.executable, "-m", "agentd", "collect", "--config", str(configuration)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in result.stdout.splitlines() if not LIVE.match(line)]
    (folder / "actual.prom").write_text("\n".join(lines) + "\n")
    return folder / "actual.prom"


def compare(shared, actual, prefixes):
    """Run the comparison over families with these prefixes."""
    options = [word for prefix in prefixes for word in ("--collector", prefix)]
    command = [sys.executable, str(shared / "node_exporter" / "compare"), str(actual), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_sample_is_right(shared, actual, prefix):
    """Of each family that node_exporter showed, every sample and the type are right, and none is extra."""
    result = compare(shared, actual, [prefix])
    assert result.returncode == 0, result.stdout
    right = re.search(
        r"^(\d+) of \1 samples right, 0 missing, 0 different, 0 extra, 0 wrong types$", result.stdout, re.MULTILINE
    )
    assert right, result.stdout
    assert int(right[1]) > 0 or prefix in ("node_cpu_online", "node_softirqs_total"), result.stdout


def test_every_sample_of_memory_is_right(shared, actual):
    """The same for memory, without the families of single NUMA nodes, which are another collector's."""
    expected = (shared / "node_exporter" / "expected.prom").read_text()
    names = {line.split()[2] for line in expected.splitlines() if line.startswith("# TYPE node_memory_")}
    result = compare(shared, actual, sorted(name for name in names if not name.startswith("node_memory_numa_")))
    assert result.returncode == 0, result.stdout


def test_every_sample_of_the_loopback_interface_is_right(shared, actual):
    """The same for the counters of the loopback interface, which that run read from the live kernel as well."""
    names = [
        f"node_network_{name}_total"
        for name in (
            "receive_compressed receive_drop receive_errs receive_fifo receive_frame receive_multicast "
            "receive_nohandler transmit_carrier transmit_colls transmit_compressed transmit_drop transmit_errs "
            "transmit_fifo"
        ).split()
    ]
    result = compare(shared, actual, names)
    assert result.returncode == 0, result.stdout
    assert result.stdout.startswith("13 of 13 samples right"), result.stdout


def test_success_of_each_collector_is_told_alike(shared, actual):
    """For the collectors that exist here, node_scrape_collector_success is what node_exporter showed."""
    text = actual.read_text()
    expected = (shared / "node_exporter" / "expected.prom").read_text()
    for name in COLLECTORS:
        sample = f'node_scrape_collector_success{{collector="{name}"}} '
        assert [float(line.split()[-1]) for line in text.splitlines() if line.startswith(sample)] == [
            float(line.split()[-1]) for line in expected.splitlines() if line.startswith(sample)
        ], name

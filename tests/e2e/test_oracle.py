"""Held against what a real node_exporter answered in its own end-to-end run (../shared/node_exporter)."""

import re
import shutil
import subprocess
import sys

import pytest

LIVE = re.compile(r"^node_network_(receive|transmit)_(bytes|packets)_total")
"""What the loopback interface of this machine has carried by now; that run, too, leaves it out of its comparison."""


@pytest.fixture(scope="module")
def actual(shared, tmp_path_factory):
    """Return what agentd collects from the files of that run, with its settings as they stand there, as a file."""
    folder = tmp_path_factory.mktemp("oracle")
    source = shared / "node_exporter"
    fixtures = "collector/fixtures"  # where that run had them; one label is a path
    (folder / fixtures).mkdir(parents=True)
    subprocess.run(["tar", "-xzf", str(source / "fixtures.tar.gz"), "-C", str(folder / fixtures)], check=True)
    configuration = folder / "agentd.toml"
    configuration.write_text((source / "agentd.toml").read_text().replace("@FIXTURES@", fixtures))
    command = [*apart(), sys.executable, "-m", "agentd", "collect", "--config", str(configuration)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in result.stdout.split("\n") if not LIVE.match(line)]
    (folder / "actual.prom").write_text("\n".join(lines))
    return folder / "actual.prom"


def apart():
    """Return what runs a command in a network namespace of its own, if that can be had.

    There the loopback interface has not carried, and dropped, what other tests have sent.
    """
    command = ["unshare", "--net"]
    able = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if able and able.returncode == 0 else []


def test_every_sample_of_every_collector_is_right(shared, actual):
    """All that node_exporter showed is there with the same type and value, and nothing else is."""
    command = [sys.executable, str(shared / "node_exporter" / "compare"), str(actual)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    verdict = result.stdout.strip().splitlines()
    right = "2970 of 2970 samples right, 0 missing, 0 different, 0 extra, 0 wrong types"
    assert right in verdict, result.stdout[-3000:]
    assert result.returncode == 0

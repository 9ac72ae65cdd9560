"""The collector watchdog."""

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host.watchdog import FOLDER, Watchdog


def collector(tmp_path):
    """Return the collector of the machine below a folder."""
    return Watchdog(context=Context(host=Host(HostPaths(sysfs=str(tmp_path)))))


def test_a_watchdog_tells_what_it_has(tmp_path):
    """Numbers become samples, texts labels; what is missing or no number is left out."""
    folder = tmp_path / FOLDER / "watchdog0"
    folder.mkdir(parents=True)
    for name, content in {"timeout": "30\n", "timeleft": "", "nowayout": "1\n", "identity": "iTCO \n"}.items():
        (folder / name).write_text(content)
    (folder / "bootstatus").mkdir()  # reading it fails, as it does where the driver has no answer
    told = {family.name: family.samples for family in collector(tmp_path).collect()}
    assert told == {
        "node_watchdog_timeout_seconds": {("watchdog0",): 30.0},
        "node_watchdog_nowayout": {("watchdog0",): 1.0},
        "node_watchdog_info": {("watchdog0", "", "iTCO", "", "", ""): 1.0},
    }


def test_no_watchdog_and_no_support_differ(tmp_path):
    """A kernel that knows watchdogs, but has none, answers; one that does not know them has no data."""
    with pytest.raises(NoData):
        collector(tmp_path).collect()
    (tmp_path / FOLDER).mkdir(parents=True)
    assert collector(tmp_path).collect() == []

"""The status on one line."""

from agentd.status import JournalStatus, PluginStatus, SinkStatus, Status, line

BASE = {
    "version": "1",
    "pid": 1,
    "started_at": 0.0,
    "uptime_seconds": 1.0,
    "ready": True,
    "listen": [],
    "config_files": [],
    "state_directory": "/",
    "disabled": {},
}

JOURNAL = JournalStatus(durable=True, last=1234, size_bytes=0, dropped=0, damaged=0)


def plugin(name, **fields):
    """Return the status of a plugin that is enabled."""
    return PluginStatus(plugin=name, reason="default", **{"up": True, **fields})


def sink(name, *, healthy=True):
    """Return the status of a sink."""
    return SinkStatus(
        sink=name,
        plugin="file",
        state="connected",
        healthy=healthy,
        cursor=0,
        lag_events=0,
        lag_seconds=0.0,
        sent=0,
        retried=0,
        rejected=0,
        dropped=0,
    )


def test_all_is_well():
    """Collectors that are up with their series, events so far, sinks."""
    plugins = [plugin("collectors.cpu", series=10), plugin("collectors.nfs"), plugin("exporters.prometheus")]
    status = Status(**BASE, plugins=plugins, journal=JOURNAL, sinks=[sink("sinks.a"), sink("sinks.b")])
    assert line(status) == "2 collectors, 10 series; 1234 events; 2 sinks"
    assert line(Status(**BASE, plugins=[])) == "0 collectors, 0 series"


def test_what_is_wrong_is_named():
    """A plugin that is down, a sink that is not healthy, a journal on no disk, a configuration with errors."""
    plugins = [plugin("collectors.cpu", up=False), plugin("collectors.gpu", up=False, paused_until=5.0)]
    journal = JournalStatus(durable=False, last=5, size_bytes=0, dropped=0, damaged=0, error="disk full")
    status = Status(
        **BASE,
        plugins=plugins,
        journal=journal,
        sinks=[sink("sinks.a", healthy=False)],
        config_error="x",
        degraded=True,
    )
    assert line(status) == (
        "0 collectors, 0 series; 5 events, NOT WRITTEN DOWN; 1 sink; not healthy: sinks.a; down: collectors.cpu; "
        "paused: collectors.gpu; THE CONFIGURATION HAS ERRORS, an earlier one runs"
    )

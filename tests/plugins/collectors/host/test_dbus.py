"""The collectors systemd and logind, against a real D-Bus daemon and services that answer as the tests say."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import NoData, Regex
from agentd_plugins.collectors.host import _dbus, logind, systemd
from agentd_plugins.collectors.host.logind import Logind
from agentd_plugins.collectors.host.systemd import Systemd, SystemdConfig

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"""


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_binary: Callable[[str], str]) -> Iterator[str]:
    """The address of a D-Bus daemon with the limits of a system bus, which takes the place of the machine's own."""
    pytest.importorskip("dbus_fast", reason="the extra systemd (dbus-fast) is not installed")
    program = server_binary("dbus-daemon")
    socket = tmp_path / "bus"
    configuration = tmp_path / "bus.conf"
    configuration.write_text(CONFIGURATION.format(socket=socket))
    process = subprocess.Popen(
        [program, f"--config-file={configuration}", "--nofork", "--print-address=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("the dbus-daemon of this machine does not run here")
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
        yield f"unix:path={socket}"
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@asynccontextmanager
async def served(address: str, name: str, answer: Callable):
    """Be the service of this name while the test runs.

    ``answer(path, interface, member, body)`` returns a signature and a value; None: such an object is not known.
    """
    from dbus_fast import ErrorType, Message
    from dbus_fast.aio import MessageBus

    bus = await MessageBus(bus_address=address).connect()

    def handle(message):
        if message.destination not in (name, bus.unique_name) or message.member is None:
            return None
        answered = answer(message.path, message.interface, message.member, message.body)
        if answered is None:
            return Message.new_error(message, ErrorType.UNKNOWN_PROPERTY, "no such thing")
        return Message.new_method_return(message, answered[0], [answered[1]])

    bus.add_message_handler(handle)
    await bus.request_name(name)
    try:
        yield
    finally:
        bus.disconnect()
        await asyncio.wait_for(bus.wait_for_disconnect(), 20)


def told(families):
    """Return the samples of families by their names."""
    return {family.name: family.samples for family in families}


def unit(name, active="active", load="loaded"):
    """Return a unit as ListUnits tells of it."""
    path = "/org/freedesktop/systemd1/unit/" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in name)
    return [name, "What it is", load, active, "sub", "", path, 0, "", "/"]


def a_systemd(units, properties, manager=None):
    """Return the answers of a systemd with these units, and with these properties by unit and name."""
    manager = {"Version": "252.39-1~deb12u1", "Virtualization": "", "SystemState": "running"} | (manager or {})
    names = {row[6]: row[0] for row in units}

    def answer(path, interface, member, body):
        from dbus_fast import Variant

        if member == "ListUnits":
            assert (path, interface) == ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
            return "a(ssssssouso)", units
        if member != "Get":
            return None
        asked, name = body
        if path == "/org/freedesktop/systemd1":
            return ("v", Variant("s", manager[name])) if manager.get(name) is not None else None
        kind, value = properties.get((names[path], asked.rpartition(".")[2], name), (None, None))
        return ("v", Variant(kind, value)) if kind else None

    return answer


UNITS = [
    unit("ssh.service"),
    unit("broken.service", "failed"),
    unit("ghost.service", "inactive", "not-found"),
    unit("web.socket"),
    unit("daily.timer"),
    unit("home.mount"),
    unit("odd.target", "reloading"),
]
PROPERTIES = {
    ("ssh.service", "Service", "Type"): ("s", "notify"),
    ("ssh.service", "Service", "NRestarts"): ("u", 3),
    ("ssh.service", "Service", "TasksCurrent"): ("t", 7),
    ("ssh.service", "Service", "TasksMax"): ("t", 2**64 - 1),
    ("ssh.service", "Unit", "ActiveEnterTimestamp"): ("t", 1_700_000_000_500_000),
    ("web.socket", "Socket", "NAccepted"): ("u", 11),
    ("web.socket", "Socket", "NConnections"): ("u", 2),
    ("web.socket", "Socket", "NRefused"): ("u", 1),
    ("daily.timer", "Timer", "LastTriggerUSec"): ("t", 1_600_000_000_000_000),
    ("home.mount", "Mount", "Type"): ("s", "ext4"),
}


async def ask_systemd(bus, answer, **options):
    """Return what the collector tells of such a systemd."""
    collector = Systemd(SystemdConfig(**options))
    await collector.start()
    async with served(bus, "org.freedesktop.systemd1", answer):
        return told(await collector.collect())


async def test_systemd_tells_of_units(bus):
    """Units that are loaded and not excluded have a sample for each state; all units count in the sums."""
    families = await ask_systemd(bus, a_systemd(UNITS, PROPERTIES))
    assert families["node_systemd_version"] == {("252.39-1~deb12u1",): 252.39}
    assert families["node_systemd_virtualization_info"] == {("none",): 1.0}
    assert families["node_systemd_system_running"] == {(): 1.0}
    assert families["node_systemd_units"] == {
        ("active",): 4.0,
        ("activating",): 0.0,
        ("deactivating",): 0.0,
        ("inactive",): 1.0,
        ("failed",): 1.0,
        ("reloading",): 1.0,
    }
    states = families["node_systemd_unit_state"]
    assert {name for name, _, _ in states} == {
        "ssh.service", "broken.service", "web.socket", "daily.timer", "odd.target"
    }  # fmt: skip
    assert {key[1]: value for key, value in states.items() if key[0] == "ssh.service"} == {
        "active": 1.0, "activating": 0.0, "deactivating": 0.0, "inactive": 0.0, "failed": 0.0
    }  # fmt: skip
    assert states["ssh.service", "active", "notify"] == 1.0
    assert states["broken.service", "failed", ""] == 1.0
    assert families["node_systemd_socket_accepted_connections_total"] == {("web.socket",): 11.0}
    assert families["node_systemd_socket_current_connections"] == {("web.socket",): 2.0}
    assert families["node_systemd_socket_refused_connections_total"] == {("web.socket",): 1.0}
    assert families["node_systemd_timer_last_trigger_seconds"] == {("daily.timer",): 1.6e9}
    assert not families.keys() & {"node_systemd_unit_tasks_current", "node_systemd_service_restart_total"}


async def test_systemd_tells_more_where_it_is_asked_to(bus):
    """The options add restarts, tasks and start times; what is unlimited or not known is left out."""
    families = await ask_systemd(
        bus,
        a_systemd(UNITS, PROPERTIES),
        unit_include=Regex("(ssh|broken|ghost).service|home.mount"),
        unit_exclude=Regex("mount"),  # has to match the whole name
        enable_task_metrics=True,
        enable_restarts_metrics=True,
        enable_start_time_metrics=True,
    )
    assert families["node_systemd_service_restart_total"] == {("ssh.service",): 3.0}
    assert families["node_systemd_unit_tasks_current"] == {("ssh.service",): 7.0}
    assert "node_systemd_unit_tasks_max" not in families
    assert families["node_systemd_unit_start_time_seconds"] == {
        ("ssh.service",): 1700000000.5,
        ("broken.service",): 0.0,
    }
    assert families["node_systemd_unit_state"]["home.mount", "active", "ext4"] == 1.0


async def test_systemd_of_old_lacks_its_state(bus):
    """A systemd that knows no SystemState, Virtualization or sensible Version is told of nevertheless."""
    manager = {"Version": "old", "Virtualization": None, "SystemState": None}
    families = await ask_systemd(bus, a_systemd(UNITS, {}, manager))
    assert families["node_systemd_version"] == {("",): 0.0}
    assert families["node_systemd_virtualization_info"] == {("unknown",): 1.0}
    assert "node_systemd_system_running" not in families
    assert families["node_systemd_unit_state"]["ssh.service", "active", ""] == 1.0


async def test_more_units_than_the_bus_lets_one_ask_at_once(bus):
    """The 128 answers that a connection may wait for are no limit to the number of units."""
    units = [unit(f"worker@{number}.service") for number in range(400)]
    properties = {(row[0], "Service", "Type"): ("s", "simple") for row in units}
    families = await ask_systemd(bus, a_systemd(units, properties))
    assert len(families["node_systemd_unit_state"]) == 5 * 400
    assert {type_ for _, _, type_ in families["node_systemd_unit_state"]} == {"simple"}


async def test_a_service_that_refuses_is_an_error_that_says_so(bus):
    """Where systemd answers a question of which all depends with an error, the collection fails with its words."""
    with pytest.raises(_dbus.Refused, match="no such thing"):
        await ask_systemd(bus, lambda path, interface, member, body: None)


@pytest.mark.parametrize("collector", [Systemd, Logind])
async def test_without_the_service_there_is_no_data(bus, collector):
    """A bus on which the service does not run is a machine that lacks the thing."""
    with pytest.raises(NoData, match="is not on the system bus"):
        await collector().collect()


@pytest.mark.parametrize("collector", [Systemd, Logind])
async def test_without_a_bus_there_is_no_data(tmp_path, monkeypatch, collector):
    """A machine without a system bus lacks the thing, and nothing is left open."""
    pytest.importorskip("dbus_fast", reason="the extra systemd (dbus-fast) is not installed")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(NoData, match="no system bus"):
        await collector().collect()


async def test_a_service_that_is_silent_can_be_given_up(bus):
    """A collection that is cancelled because nothing answers leaves no connection behind, and the next one works."""

    async def files():
        return len(os.listdir("/proc/self/fd"))

    from dbus_fast.aio import MessageBus

    silent = await MessageBus(bus_address=bus).connect()
    silent.add_message_handler(lambda message: message.destination == "org.freedesktop.systemd1")
    await silent.request_name("org.freedesktop.systemd1")
    before = await files()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Systemd().collect(), 0.3)
    assert await files() == before
    silent.disconnect()
    await silent.wait_for_disconnect()
    assert await ask_systemd(bus, a_systemd(UNITS, PROPERTIES))


@pytest.mark.parametrize("collector", [Systemd, Logind])
async def test_the_missing_library_is_named(monkeypatch, collector):
    """Without dbus-fast the collector cannot start, and says which extra to install."""
    monkeypatch.setitem(sys.modules, "dbus_fast", None)
    monkeypatch.setitem(sys.modules, "dbus_fast.aio", None)
    with pytest.raises(RuntimeError, match=r"pip install 'agentd\[systemd\]'"):
        await collector().start()


async def test_logind_counts_sessions(bus):
    """Sessions count by seat, remoteness, type and class; words that are new count as other."""
    sessions = {
        "/s/1": ("seat0", False, "wayland", "user"),
        "/s/2": ("", True, "tty", "user"),
        "/s/3": ("", True, "tty", "user"),
        "/s/4": ("", False, "hologram", "manager"),
        "/s/5": ("", False, "tty", None),  # ended while it was asked
    }

    def answer(path, interface, member, body):
        from dbus_fast import Variant

        if member == "ListSeats":
            return "a(so)", [["seat0", "/seat/seat0"]]
        if member == "ListSessions":
            return "a(susso)", [[str(at), 1000, "ann", row[0], at] for at, row in sessions.items()]
        remote, type_, class_ = sessions[path][1:]
        value = {"Remote": ("b", remote), "Type": ("s", type_), "Class": ("s", class_)}[body[1]]
        return None if value[1] is None else ("v", Variant(*value))

    collector = Logind()
    await collector.start()
    async with served(bus, "org.freedesktop.login1", answer):
        samples = told(await collector.collect())["node_logind_sessions"]
    assert len(samples) == 2 * 2 * 7 * 5
    assert {key: value for key, value in samples.items() if value} == {
        ("seat0", "false", "wayland", "user"): 1.0,
        ("", "true", "tty", "user"): 2.0,
        ("", "false", "other", "other"): 1.0,
    }


ANYTHING = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=12))


@given(ANYTHING)
@settings(max_examples=100, deadline=None)
def test_answers_of_any_form_are_units_or_a_value_error(answer):
    """Whatever a service sends in the place of a list of units raises nothing but ValueError."""
    with suppress(ValueError):
        systemd.parse(answer)


@given(st.text() | st.none() | st.integers() | st.from_regex(r"[0-9.]{0,400}"))
@settings(max_examples=100, deadline=None)
def test_any_version_is_a_number(text):
    """Whatever systemd calls its version, the number is finite and not negative."""
    assert 0.0 <= systemd.version(text) < float("inf")


@given(st.booleans() | st.text(), st.text() | st.integers(), st.text() | st.none())
@settings(max_examples=100, deadline=None)
def test_any_session_has_known_labels_or_none(remote, type_, class_):
    """Whatever logind says of a session, its labels are of those that are told."""
    labels = logind.described(remote, type_, class_)
    assert labels is None or (labels[0] in logind.REMOTE and labels[1] in logind.TYPES and labels[2] in logind.CLASSES)

"""The collector mountstats."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host._mountstats import addresses, parse
from agentd_plugins.collectors.host.mountstats import Mountstats, told

BEFORE = b"device tmpfs mounted on /tmp with fstype tmpfs\nno device mounted on /odd with fstype odd\n"
MOUNT = b"""device nas:/a mounted on /mnt/a\\040b with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2
	age:	60
	events:	1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20 21 22 23 24 25 26 27
	bytes:	1 2 3 4 5 6 7 8
	RPC iostats version: 1.1  p/v: 100003/4 (nfs)
	xprt:	tcp 700 1 2 30 4 5 6 7 8 9 10 11 12
	xprt:	tcp 701 0 0 0 18446743919241604546 0 0 0 0 0 0 0 0
	per-op statistics
	READ: 1 2 3 4 5 6000 7000 8000 9
"""
INFO = b"""1 0 0:1 / /tmp rw - tmpfs tmpfs rw
2 0 0:2 / /odd rw shared:1 - odd none rw
3 0 0:3 / /mnt/a\\040b rw shared:2 - nfs4 nas:/a rw,vers=4.2,clientaddr=10.0.0.1,addr=10.0.0.2
"""
LABELS = ("nas:/a", "tcp", "10.0.0.2")


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a process in a fake procfs."""
    folder = tmp_path / "self"
    folder.mkdir()
    (folder / "mountinfo").write_bytes(INFO)
    return folder


def samples(tmp_path):
    """Return the samples of each family that a collector tells from a fake procfs."""
    families = Mountstats(context=Context(host=Host(HostPaths(procfs=str(tmp_path))))).collect()
    return {family.name.removeprefix("node_mountstats_nfs_"): family.samples for family in families}


def test_collect_tells_a_mount(folder, tmp_path):
    """The address comes from mountinfo, by the mount's place; blanks in names are as the kernel writes them."""
    (folder / "mountstats").write_bytes(BEFORE + MOUNT)
    families = samples(tmp_path)
    assert families["mountpoint_info"] == {(*LABELS, "/mnt/a\\040b"): 1.0}
    assert families["age_seconds_total"] == {LABELS: 60.0}
    assert families["read_bytes_total"] == {LABELS: 1.0}
    assert families["write_pages_total"] == {LABELS: 8.0}


def test_collect_tells_events_by_their_places(folder, tmp_path):
    """The one event that is not told leaves the places of the others as they are."""
    (folder / "mountstats").write_bytes(BEFORE + MOUNT)
    families = samples(tmp_path)
    events = {name: values[LABELS] for name, values in families.items() if name.startswith("event_")}
    assert len(events) == 26
    assert 99.0 not in events.values()
    assert events["event_inode_revalidate_total"] == 1.0
    assert events["event_vfs_file_release_total"] == 18.0
    assert events["event_truncation_total"] == 20.0
    assert events["event_pnfs_write_total"] == 27.0


def test_collect_tells_each_transport(folder, tmp_path):
    """A mount with two connections tells both; an idle time that went backwards is told modulo 2**53."""
    (folder / "mountstats").write_bytes(BEFORE + MOUNT)
    first = {name: values[*LABELS, "0"] for name, values in samples(tmp_path).items() if name.startswith("transport_")}
    assert first == {
        "transport_bind_total": 1.0,
        "transport_connect_total": 2.0,
        "transport_idle_time_seconds": 4.0,
        "transport_sends_total": 5.0,
        "transport_receives_total": 6.0,
        "transport_bad_transaction_ids_total": 7.0,
        "transport_backlog_queue_total": 9.0,
        "transport_maximum_rpc_slots": 10.0,
        "transport_sending_queue_total": 11.0,
        "transport_pending_queue_total": 12.0,
    }
    assert samples(tmp_path)["transport_idle_time_seconds"][*LABELS, "1"] == 18446743919241604546 % 2**53


def test_collect_tells_operations(folder, tmp_path):
    """Numbers of an operation are calls, bytes and milliseconds, which are told in seconds."""
    (folder / "mountstats").write_bytes(BEFORE + MOUNT)
    read = {
        name.removeprefix("operations_"): values[*LABELS, "READ"]
        for name, values in samples(tmp_path).items()
        if name.startswith("operations_")
    }
    assert read == {
        "requests_total": 1.0,
        "transmissions_total": 2.0,
        "major_timeouts_total": 3.0,
        "sent_bytes_total": 4.0,
        "received_bytes_total": 5.0,
        "queue_time_seconds_total": 6.0,
        "response_time_seconds_total": 7.0,
        "request_time_seconds_total": 8.0,
    }


def test_collect_tells_nothing_without_nfs(folder, tmp_path):
    """A machine that mounts nothing by NFS is no failure."""
    (folder / "mountstats").write_bytes(BEFORE)
    assert samples(tmp_path) == {}


def test_collect_tells_no_data_without_the_file(tmp_path):
    """A procfs that does not tell statistics of mounts is no failure."""
    with pytest.raises(NoData, match="does not tell"):
        samples(tmp_path)


def test_an_export_is_told_once_and_its_places_all():
    """Of an export mounted twice the first mount is told; another protocol makes another export."""
    again = MOUNT.replace(b"/mnt/a\\040b", b"/mnt/c")
    by_udp = again.replace(b"xprt:\ttcp 700", b"xprt:\tudp 700")
    places, exports = told(parse(BEFORE + MOUNT + again + by_udp), ["", "", "ip", "ip", "ip"])
    assert places == [
        ("nas:/a", "tcp", "ip", "/mnt/a\\040b"),
        ("nas:/a", "tcp", "ip", "/mnt/c"),
        ("nas:/a", "udp", "ip", "/mnt/c"),
    ]
    assert {labels: mount.place for labels, mount in exports.items()} == {
        ("nas:/a", "tcp", "ip"): 2,
        ("nas:/a", "udp", "ip"): 4,
    }


def test_a_mount_that_came_after_the_addresses_has_none():
    """Where mountinfo is shorter, the address is left empty."""
    _, exports = told(parse(MOUNT), [])
    assert set(exports) == {("nas:/a", "tcp", "")}


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        (b"tcp 1 2 3 4 5 6 7 8 9 10", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0]),
        (b"udp 1 2 6 7 8 9 10 11 12 13", [1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13]),
        (b"udp 1 2 6 7 8 9 10", [1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 0, 0, 0]),
        (b"rdma 1 2 3 4 5 6 7 8 9 10 14 15 16", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0]),
    ],
)
def test_parse_puts_transports_into_the_order_of_tcp(line, numbers):
    """What a protocol or an older kernel does not count is 0."""
    (mount,) = parse(b"device a:/b mounted on /c with fstype nfs statvers=1.1\n\txprt:\t" + line + b"\n")
    (transport,) = mount.transports
    assert (transport.protocol, transport.numbers) == (line.split()[0].decode(), numbers)


def test_parse_leaves_out_what_is_not_known():
    """A protocol that is not known, and other file systems with statistics, are left out."""
    (mount,) = parse(
        b"device x mounted on /x with fstype other statvers=1.1\n\tage:\tmany\n"
        b"device a:/b mounted on /c with fstype nfs statvers=1.1\n\txprt:\tlocal 1\n"
    )
    assert (mount.place, mount.transports, mount.age) == (1, [], 0)


def test_parse_refuses_what_is_no_number():
    """A word in the place of a number is an error that is a ValueError."""
    with pytest.raises(ValueError, match="invalid literal"):
        parse(MOUNT.replace(b"bytes:\t1", b"bytes:\tmany"))


def test_addresses_are_those_of_the_server():
    """The client's own address, and that of the mount protocol, do not count."""
    assert addresses(INFO) == ["", "", "10.0.0.2"]
    assert addresses(b"1 0 0:3 / /a rw - nfs a:/b rw,mountaddr=10.0.0.9\n\xff\n") == ["", ""]


@given(st.lists(st.integers(0, 2**70), min_size=8, max_size=12), st.text("ABCDEFG_", min_size=1))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(numbers, operation):
    """Any numbers of any operation are read, and further ones are passed over."""
    line = f"\t{operation:>12}: {' '.join(map(str, numbers))}\n".encode()
    (mount,) = parse(MOUNT + line)
    assert mount.operations == {"READ": [1, 2, 3, 4, 5, 6000, 7000, 8000], operation: numbers[:8]}


@given(st.integers(0, len(BEFORE + MOUNT)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    addresses(INFO[:length] + junk)
    with suppress(ValueError):
        parse((BEFORE + MOUNT)[:length] + junk)

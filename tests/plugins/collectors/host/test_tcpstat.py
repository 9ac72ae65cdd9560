"""The collector tcpstat, and the reader of the kernel's list of sockets."""

import errno
import logging
import socket
from contextlib import suppress
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData
from agentd_plugins.collectors.host._inetdiag import DiagnosisSocket, TcpSocket
from agentd_plugins.collectors.host.tcpstat import Tcpstat, parse, tally

ESTABLISHED, TIME_WAIT, LISTEN = 1, 6, 10
HEADING = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = b"   3: 0100007F:1F90 00000000:0000 %02X %08X:%08X 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n"


def answer(state, received, unsent):
    """Return the body of a message about a socket, with an attribute behind it."""
    return pack("=BBBB48xIIIII", 2, state, 0, 0, 0, received, unsent, 1000, 4711) + pack("=HHI", 8, 1, 0)


class Kernel:
    """A kernel that answers each request with the bodies of the next list, or refuses it."""

    def __init__(self, *answers, refuses=None):
        self.answers, self.refuses = list(answers), refuses
        self.requests = []
        self.closed = 0

    def open(self):
        if self.refuses:
            raise OSError(self.refuses, "refused")
        return self

    def send(self, request):
        self.requests.append(request)
        (sequence,) = unpack_from("=I", request, 8)
        parts = [(20, body) for body in self.answers.pop(0)] + [(3, pack("=i", 0))]
        self.data = b"".join(pack("=IHHII", 16 + len(body), kind, 2, sequence, 0) + body for kind, body in parts)

    def recvmsg(self, size):
        return self.data, [], 0, (0, 0)

    def close(self):
        self.closed += 1


def collector(kernel, **paths):
    """Return a collector that asks a kernel of a test's own."""
    return Tcpstat(context=Context(host=Host(HostPaths(**paths))), diagnosis=DiagnosisSocket(kernel.open))


def states(collector):
    """Return the samples of the only family that a collector tells."""
    (family,) = collector.collect()
    assert (family.name, family.kind) == ("node_tcp_connection_states", "gauge")
    return family.samples


def test_collect_counts_the_sockets_of_both_versions_of_ip():
    """Sockets are counted by state and their queues added up, those of IPv4 and IPv6 together."""
    kernel = Kernel(
        [answer(ESTABLISHED, 5, 7), answer(LISTEN, 1, 128)], [answer(ESTABLISHED, 10, 0), answer(TIME_WAIT, 0, 0)]
    )
    assert states(collector(kernel)) == {
        ("established",): 2.0,
        ("listen",): 1.0,
        ("time_wait",): 1.0,
        ("rx_queued_bytes",): 16.0,
        ("tx_queued_bytes",): 135.0,
    }


def test_requests_ask_for_all_states_of_tcp():
    """Each request is as long as the kernel wants it, and is for TCP of one version of IP."""
    kernel = Kernel([], [])
    assert collector(kernel).collect() == []
    assert [len(request) for request in kernel.requests] == [16 + 56, 16 + 56]
    assert [unpack_from("=BBxxI", request, 16) for request in kernel.requests] == [
        (socket.AF_INET, socket.IPPROTO_TCP, 0xFFF),
        (socket.AF_INET6, socket.IPPROTO_TCP, 0xFFF),
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT])
def test_collect_reads_files_where_the_kernel_does_not_answer(tmp_path, caplog, number):
    """Where netlink is forbidden, or the kernel lacks it, the files tell, and that is said once."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_bytes(HEADING + LINE % (ESTABLISHED, 3, 4))
    reading = collector(Kernel(refuses=number), procfs=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert states(reading) == {("established",): 1.0, ("rx_queued_bytes",): 4.0, ("tx_queued_bytes",): 3.0}
    assert len(caplog.records) == 1


def test_an_error_of_the_moment_is_none_for_good(tmp_path):
    """Where descriptors have run out, the files are read this time, and the kernel is asked again the next."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("  sl\n")
    kernel = Kernel(refuses=errno.EMFILE)
    asking = collector(kernel, procfs=str(tmp_path))
    assert asking.collect() == []
    kernel.refuses = None
    kernel.answers = [[], []]
    asking.collect()
    assert len(kernel.requests) == 2


def test_collect_asks_only_about_its_own_machine(tmp_path):
    """Where sysfs is elsewhere, the files alone tell, those of IPv6 as well."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_bytes(HEADING + LINE % (LISTEN, 0, 0))
    (tmp_path / "net" / "tcp6").write_bytes(HEADING + LINE % (LISTEN, 0, 0))
    kernel = Kernel()
    other = collector(kernel, procfs=str(tmp_path), sysfs=str(tmp_path))
    assert states(other) == {("listen",): 2.0, ("rx_queued_bytes",): 0.0, ("tx_queued_bytes",): 0.0}
    assert kernel.requests == []


def test_collect_tells_no_data_without_files(tmp_path):
    """Without both files there is nothing to tell, which is no failure."""
    with pytest.raises(NoData, match="no TCP sockets"):
        collector(Kernel(), procfs=str(tmp_path), sysfs=str(tmp_path)).collect()


async def test_stop_closes_the_socket():
    """What the first collection opened is closed at the end, which may come twice."""
    kernel = Kernel([], [])
    asking = collector(kernel)
    asking.collect()
    await asking.stop()
    await asking.stop()
    assert kernel.closed == 1


def test_the_running_kernel_lists_a_socket_that_listens():
    """A socket of the test's own is among those that listen, over netlink as in the files."""
    with socket.create_server(("127.0.0.1", 0)):
        diagnosis = DiagnosisSocket()
        try:
            listed = list(diagnosis.tcp())
        except OSError as error:
            pytest.skip(f"the kernel does not list sockets over netlink: {error}")
        finally:
            diagnosis.close()
        try:
            filed = [*parse(Host().proc("net/tcp"))]
        except OSError as error:
            pytest.skip(f"the kernel has no file about TCP: {error}")
    assert LISTEN in {found.state for found in listed}
    assert LISTEN in {found.state for found in filed}


def test_tally_names_every_state():
    """All states that the kernel knows have a name, and others are counted as unknown."""
    counts = tally(TcpSocket(state, 0, 0) for state in [*range(1, 12), 0, 12, 255])
    assert len(counts) == 14
    assert counts["closing"] == 1.0
    assert counts["unknown"] == 3.0


@pytest.mark.parametrize("line", [b"\n", b"1: 2 3 0A\n", b"1: 2 3 0A 12\n", b"1: 2 3 xx 1:2\n"])
def test_parse_refuses_a_line_without_queues(line):
    """A line that is cut off, or has no numbers, is an error that is a ValueError."""
    with pytest.raises(ValueError, match=r"expected at least five columns|invalid literal"):
        list(parse(HEADING + line))


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2**32), st.integers(0, 2**32)), max_size=5))
@settings(max_examples=100, deadline=None)
def test_parse_reads_back_what_a_kernel_would_write(rows):
    """Any state and queues of any number of sockets are read."""
    text = HEADING + b"".join(LINE % (state, unsent, received) for state, received, unsent in rows)
    assert list(parse(text)) == [TcpSocket(*row) for row in rows]


@given(st.integers(0, len(HEADING + LINE)), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parse_returns_or_raises_value_error(length, junk):
    """A file cut off anywhere, with binary junk behind it, never raises anything but ValueError."""
    with suppress(ValueError):
        list(parse((HEADING + LINE % (1, 2, 3))[:length] + junk))


@given(st.binary(max_size=90))
@settings(max_examples=100, deadline=None)
def test_answers_that_are_cut_off_are_value_errors(body):
    """A message of any length is read, or is an error that is a ValueError."""
    try:
        found = list(DiagnosisSocket(Kernel([body], []).open).tcp())
    except ValueError:
        assert len(body) < 72
    else:
        assert len(found) == 1
        assert len(body) >= 72

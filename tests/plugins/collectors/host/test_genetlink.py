"""The reader of generic netlink."""

import errno
from contextlib import suppress
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.host._genetlink import FamilySocket, attribute, every, nested, number, uint32

CONTROL = 16
DONE = (3, pack("=i", 0))
HEAD = pack("=BBxx", 1, 2)


def message(kind, body, sequence):
    """Return a netlink message, padded as the kernel does."""
    return pack("=IHHII", 16 + len(body), kind, 2, sequence, 0) + body + bytes(-len(body) % 4)


def family(name, kind):
    """Return how the kernel lists a family."""
    return CONTROL, HEAD + attribute(2, name + b"\0") + attribute(1, pack("=H", kind))


class Kernel:
    """A kernel that answers requests to each message type with a list of messages, or the number of an error."""

    def __init__(self, **answers):
        self.answers = {int(kind[1:]): answer for kind, answer in answers.items()}
        self.requests = []
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        self.queue = []
        return self

    def send(self, request):
        _, kind, _, sequence, _ = unpack_from("=IHHII", request)
        self.requests.append((kind, request[16:]))
        answer = self.answers[kind]
        if isinstance(answer, int):
            answer = [(2, pack("=i", -answer))]
        self.queue = [message(*part, sequence) for part in (*answer, DONE)]

    def recvmsg(self, size):
        if not self.queue:
            raise BlockingIOError
        return self.queue.pop(0), [], 0, (0, 0)

    def close(self):
        self.closed += 1


def test_ask_finds_the_family_once():
    """A family is found by its whole name, and its number is remembered."""
    kernel = Kernel(k16=[family(b"nl", 29), family(b"nl80211", 30)], k30=[(30, HEAD + b"one!"), (30, HEAD + b"two!")])
    socket = FamilySocket("nl80211", kernel.open)
    assert socket.ask(5, b"what") == [b"one!", b"two!"]
    assert socket.ask(7) == [b"one!", b"two!"]
    assert [kind for kind, _ in kernel.requests] == [16, 30, 30]
    assert kernel.requests[1][1] == b"\x05\x01\0\0what"


def test_a_family_that_the_kernel_lacks():
    """Where no family has the name, the error says so and is one of a file that is not there."""
    kernel = Kernel(k16=[family(b"ethtool", 20)])
    with pytest.raises(FileNotFoundError, match="no generic netlink family nl80211"):
        FamilySocket("nl80211", kernel.open).ask(5)


def test_an_error_has_the_family_looked_for_anew():
    """After an error, as when a module was loaded again, the family's number is asked for again."""
    kernel = Kernel(k16=[family(b"x", 30)], k30=errno.EOPNOTSUPP)
    socket = FamilySocket("x", kernel.open)
    with pytest.raises(OSError, match="refuses") as caught:
        socket.ask(1)
    assert caught.value.errno == errno.EOPNOTSUPP
    kernel.answers = {16: [family(b"x", 31)], 31: []}
    assert socket.ask(1) == []
    assert kernel.closed == 1


def test_attributes_of_requests_are_padded():
    """An attribute begins at a multiple of four bytes, and says where it holds others."""
    assert attribute(3, b"abc\0d") == pack("=HH", 9, 3) + b"abc\0d\0\0\0"
    assert uint32(4, 7) == pack("=HHI", 8, 4, 7)
    assert nested(1, uint32(3, 1)) == pack("=HH", 12, 0x8001) + uint32(3, 1)


@given(st.lists(st.tuples(st.integers(0, 2**14 - 1), st.binary(max_size=20)), max_size=8))
@settings(max_examples=100, deadline=None)
def test_every_returns_what_was_packed(parts):
    """Attributes come back in their order, those of the same type too."""
    assert list(every(b"".join(attribute(*part) for part in parts))) == parts


@given(st.binary(max_size=100))
@settings(max_examples=100, deadline=None)
def test_every_yields_or_raises_value_error(data):
    """Junk never raises anything but ValueError."""
    with suppress(ValueError):
        list(every(data))


@given(st.binary(max_size=10))
@settings(max_examples=100, deadline=None)
def test_number_takes_four_widths(value):
    """Numbers are of 1, 2, 4 or 8 bytes; anything else is a ValueError."""
    if len(value) in {1, 2, 4, 8}:
        assert 0 <= number(value) < 2 ** (8 * len(value))
    else:
        with pytest.raises(ValueError, match="no number"):
            number(value)

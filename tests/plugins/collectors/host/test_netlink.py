"""The reader of route netlink."""

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.host._netlink import Address, Link, RouteSocket, attributes, messages

NEWLINK, NEWADDR, NOOP, ERROR, DONE = 16, 20, 1, 2, 3
NAME, MTU = 3, 4
INTERRUPTED = 0x10


def message(kind, body, sequence, flags=2):
    """Return a netlink message, padded as the kernel does."""
    return pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def attribute(kind, value):
    """Return an attribute, padded as the kernel does."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link(name, ifindex=1):
    """Return the type and the body of a message about a device with a name and an MTU."""
    return NEWLINK, pack("=BxHiII", 0, 772, ifindex, 0x49, 0) + attribute(MTU, pack("=I", 1500)) + attribute(NAME, name)


DONE_WELL = (DONE, pack("=i", 0))


class Kernel:
    """A kernel that answers each request with the next of its scripts: lists of datagrams, lists of messages each.

    A message is a pair of type and body, or a triple with flags; a datagram may also be bytes, or an exception.
    """

    def __init__(self, *scripts, sender=0, flags=0, offset=0):
        self.scripts = list(scripts)
        self.requests = []
        self.opened = self.closed = 0
        self.sender, self.flags, self.offset = sender, flags, offset

    def open(self):
        self.opened += 1
        self.queue = []
        return self

    def send(self, request):
        self.requests.append(request)
        self.queue += [(datagram, unpack_from("=I", request, 8)[0]) for datagram in self.scripts.pop(0)]

    def recvmsg(self, size):
        if not self.queue:
            raise BlockingIOError
        datagram, sequence = self.queue.pop(0)
        if not isinstance(datagram, bytes):
            parts = [(kind, body, sequence + self.offset, *flags) for kind, body, *flags in datagram]
            datagram = b"".join(message(*part) for part in parts)
        return datagram, [], self.flags, (self.sender, 0)

    def close(self):
        self.closed += 1


def names(kernel, wanted=frozenset({NAME})):
    """Return the names of the devices that a kernel lists."""
    return [device.attributes[NAME] for device in RouteSocket(kernel.open).links(wanted)]


def test_links_yields_devices_of_all_datagrams():
    """A dump that comes in several datagrams is put together, with only the attributes that were asked for."""
    kernel = Kernel([[link(b"lo\0", 1), link(b"eth0\0", 7)], [link(b"x\0", 2**31 - 1)], [DONE_WELL]])
    assert list(RouteSocket(kernel.open).links(frozenset({NAME}))) == [
        Link(772, 1, 0x49, {NAME: b"lo\0"}),
        Link(772, 7, 0x49, {NAME: b"eth0\0"}),
        Link(772, 2**31 - 1, 0x49, {NAME: b"x\0"}),
    ]


def test_the_request_is_a_plain_dump():
    """The request is RTM_GETLINK with the flags of a dump, for no family in particular, and asks for no more."""
    kernel = Kernel([[DONE_WELL]], [[DONE_WELL]])
    route = RouteSocket(kernel.open)
    assert [*route.links(frozenset()), *route.links(frozenset())] == []
    assert kernel.requests == [pack("=IHHII", 32, 18, 0x301, sequence, 0) + bytes(16) for sequence in (1, 2)]
    assert kernel.opened == 1


def test_addresses_yields_the_near_end():
    """Of a connection between two points the address is IFA_LOCAL; others have IFA_ADDRESS only."""
    near, far, six = (ip_address(text) for text in ("192.0.2.1", "192.0.2.9", "2001:db8::1"))
    both = attribute(1, far.packed) + attribute(2, near.packed)
    bodies = [
        (NEWADDR, pack("=BBBBi", socket.AF_INET, 32, 0, 0, 3) + both),
        (NEWADDR, pack("=BBBBi", socket.AF_INET6, 64, 0, 0, 4) + attribute(1, six.packed)),
    ]
    kernel = Kernel([[*bodies, DONE_WELL]])
    assert list(RouteSocket(kernel.open).addresses()) == [Address(3, near, 32), Address(4, six, 64)]


def test_an_address_of_no_known_length_is_an_error():
    """An address that is neither 4 nor 16 bytes long is a ValueError."""
    kernel = Kernel([[(NEWADDR, pack("=BBBBi", 2, 8, 0, 0, 1) + attribute(1, b"123")), DONE_WELL]])
    with pytest.raises(ValueError, match="does not appear"):
        list(RouteSocket(kernel.open).addresses())


def test_what_answers_another_request_is_passed_over():
    """Messages with another sequence number, and those that say nothing, are no part of the answer."""
    stale = message(*link(b"old\0"), 4711) + message(ERROR, pack("=i", -errno.EPERM), 4711) + message(*DONE_WELL, 4711)
    assert names(Kernel([stale, [(NOOP, b""), link(b"lo\0"), DONE_WELL]])) == [b"lo\0"]


def test_an_acknowledgement_does_not_end_a_dump():
    """An error message with the number 0 only says that the request arrived."""
    assert names(Kernel([[(ERROR, pack("=i", 0)), link(b"lo\0"), DONE_WELL]])) == [b"lo\0"]


def test_messages_of_other_processes_are_thrown_away():
    """A datagram that the kernel did not send is not believed; without any other the answer lacks its end."""
    with pytest.raises(OSError, match="stops before its end"):
        names(Kernel([[link(b"evil\0"), DONE_WELL]], sender=1234))


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_an_error_of_the_kernel_is_raised_with_its_number(kind):
    """A refusal, at once or at the end of a dump, is an OSError that says why, and the next dump has a new socket."""
    kernel = Kernel([[link(b"lo\0"), (kind, pack("=i", -errno.EPERM))]], [[link(b"lo\0"), DONE_WELL]])
    route = RouteSocket(kernel.open)
    with pytest.raises(PermissionError, match="the kernel refuses"):
        list(route.links(frozenset()))
    assert (kernel.opened, kernel.closed) == (1, 1)
    assert len(list(route.links(frozenset()))) == 1
    assert (kernel.opened, kernel.closed) == (2, 1)


def test_a_dump_of_an_old_kernel_ends_without_a_number():
    """A message of the end without a body is an end like any other."""
    assert names(Kernel([[link(b"lo\0"), (DONE, b"")]])) == [b"lo\0"]


@pytest.mark.parametrize("where", ["message", "end"])
def test_an_interrupted_dump_is_asked_for_again(where):
    """A list that changed while it was told is thrown away, and the next one taken."""
    broken = (
        [(*link(b"torn\0"), 2 | INTERRUPTED), DONE_WELL]
        if where == "message"
        else [link(b"torn\0"), (*DONE_WELL, 2 | INTERRUPTED)]
    )
    assert names(Kernel([broken], [[link(b"whole\0"), DONE_WELL]])) == [b"whole\0"]


def test_after_three_interrupted_dumps_the_last_has_to_do():
    """Where devices come and go all the time, what the last of three dumps told is taken."""
    kernel = Kernel(*([[(*link(b"%d\0" % number), 2 | INTERRUPTED), DONE_WELL]] for number in range(4)))
    assert names(kernel) == [b"2\0"]
    assert len(kernel.requests) == 3


@pytest.mark.parametrize(
    ("kernel", "error"),
    [
        (Kernel([]), "stops before its end"),
        (Kernel([[link(b"lo\0")]]), "stops before its end"),
        (Kernel([[link(b"lo\0"), DONE_WELL]], flags=socket.MSG_TRUNC), "longer than"),
        (Kernel([[link(b"lo\0"), DONE_WELL]], offset=1), "stops before its end"),
        (Kernel([b"\x20\0\0\0"]), "are needed"),
        (Kernel([pack("=IHHII", 200, NEWLINK, 2, 1, 0)]), "claims 200 bytes where 16 are left"),
        (Kernel([pack("=IHHII", 0, NEWLINK, 2, 1, 0)]), "claims 0 bytes"),
        (Kernel([[(ERROR, b"\1")]]), "are needed"),
    ],
)
def test_a_broken_answer_closes_the_socket(kernel, error):
    """Whatever is wrong with an answer, the error says what, and nothing of it is left for the next one."""
    with pytest.raises((OSError, ValueError), match=error):
        names(kernel)
    assert (kernel.opened, kernel.closed) == (1, 1)


def test_a_message_that_is_too_short_is_an_error():
    """A device without the structure that every device has is a ValueError."""
    with pytest.raises(ValueError, match="16 are needed"):
        names(Kernel([[(NEWLINK, b"short"), DONE_WELL]]))


def test_close_may_be_called_twice():
    """Closing closes once, and a request afterwards opens a new socket."""
    kernel = Kernel([[DONE_WELL]], [[DONE_WELL]])
    route = RouteSocket(kernel.open)
    route.close()
    assert list(route.links(frozenset())) == []
    route.close()
    route.close()
    assert (kernel.opened, kernel.closed) == (1, 1)
    assert list(route.links(frozenset())) == []
    assert kernel.opened == 2


def test_the_running_kernel_lists_its_devices_and_addresses():
    """Two dumps over one socket to the real kernel name the same devices as the C library does."""
    route = RouteSocket()
    try:
        listed = [list(route.links(frozenset({NAME}))) for _ in range(2)]
        addresses = list(route.addresses())
    except PermissionError as error:
        pytest.skip(f"netlink is forbidden here: {error}")
    finally:
        route.close()
    found = {(device.ifindex, device.attributes[NAME].rstrip(b"\0").decode()) for device in listed[0]}
    assert found == set(socket.if_nameindex())
    assert [device.ifindex for device in listed[0]] == [device.ifindex for device in listed[1]]
    assert {address.ifindex for address in addresses} <= {ifindex for ifindex, _ in found}


def test_attributes_forgets_the_bits_that_are_no_part_of_the_number():
    """The marks of nested attributes and of byte order do not hide which attribute it is."""
    assert attributes(attribute(0x8000 | 0x4000 | 7, b"x"), 0, frozenset({7})) == {7: b"x"}


@pytest.mark.parametrize("body", [b"\3\0\3\0", b"\0\0\3\0", b"\x09\0\3\0name"])
def test_attributes_refuses_a_length_that_cannot_be(body):
    """An attribute shorter than its own head, or longer than what is left, is a ValueError and never a loop."""
    with pytest.raises(ValueError, match="an attribute claims"):
        attributes(body, 0, frozenset({NAME}))


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=30)), st.sets(st.integers(0, 0x3FFF)), st.randoms())
@settings(max_examples=100, deadline=None)
def test_attributes_finds_the_wanted_ones(values, others, random):
    """Of any attributes those asked for are returned, whole, and no others."""
    wanted = frozenset(random.sample(sorted(values), len(values) // 2)) | (others - values.keys())
    body = b"head" + b"".join(attribute(kind, value) for kind, value in values.items())
    assert attributes(body, 4, wanted) == {kind: value for kind, value in values.items() if kind in wanted}


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=30), st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF))
    )
)
@settings(max_examples=100, deadline=None)
def test_messages_takes_a_datagram_apart(parts):
    """Each message of a datagram is told with its type, flags, sequence number and body."""
    datagram = b"".join(message(*part) for part in parts)
    assert list(messages(datagram)) == [(kind, flags, sequence, body) for kind, body, sequence, flags in parts]


@given(st.binary(), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_junk_raises_value_error_at_most(junk, length):
    """Binary junk, and a datagram cut off anywhere, never raise anything but ValueError and always come to an end."""
    datagram = message(*link(b"eth0\0"), 1) + message(*DONE_WELL, 1)
    for data in (junk, datagram[:length] + junk):
        with suppress(ValueError):
            list(messages(data))
        with suppress(ValueError):
            attributes(data, 0, frozenset({NAME, MTU}))

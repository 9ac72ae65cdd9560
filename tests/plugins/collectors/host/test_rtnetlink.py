"""The reader of routes and queueing disciplines."""

import errno
from contextlib import suppress
from ipaddress import ip_address
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors.host._rtnetlink import Hop, Qdisc, Route, TableSocket, parse_qdisc, parse_route

INET, INET6, MPLS = 2, 10, 28
UNICAST, LOCAL = 1, 2
DST, OIF, GATEWAY, PRIORITY, PREFSRC, MULTIPATH = 1, 4, 5, 6, 7, 9
ROOT = 2**32 - 1


def attribute(kind, value):
    """Return an attribute, padded as the kernel does."""
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind, value):
    """Return an attribute that is a number of 32 bits."""
    return attribute(kind, pack("=I", value))


def address(kind, text):
    """Return an attribute that is an address."""
    return attribute(kind, ip_address(text).packed)


def route(*attributes, family=INET, length=24, protocol=4, kind=UNICAST):
    """Return the body of a message about a route."""
    return pack("=BBBBBBBBI", family, length, 0, 0, 254, protocol, 0, kind, 0) + b"".join(attributes)


def hop(ifindex, weight, *attributes):
    """Return one of several ways of a route."""
    rest = b"".join(attributes)
    return pack("=HBBi", 8 + len(rest), 0, weight - 1, ifindex) + rest


def qdisc(*attributes, ifindex=2, parent=ROOT, kind=b"fq_codel\0"):
    """Return the body of a message about a queueing discipline."""
    return pack("=BxxxiIII", 0, ifindex, 0x10000, parent, 2) + attribute(1, kind) + b"".join(attributes)


BASIC = attribute(1, pack("=QIxxxx", 2**40, 12))
QUEUE = attribute(3, pack("=IIIII", 1, 2, 3, 4, 5))


def test_parse_route_with_one_way():
    """A route has its destination, source, gateway, device, metric and origin."""
    body = route(
        address(DST, "10.1.2.0"),
        address(PREFSRC, "10.1.2.9"),
        address(GATEWAY, "10.1.2.1"),
        number(OIF, 2),
        number(PRIORITY, 100),
    )
    expected = Hop(2, ip_address("10.1.2.1"))
    assert parse_route(body) == Route(ip_address("10.1.2.0"), 24, ip_address("10.1.2.9"), 100, 4, (expected,))


def test_parse_route_with_several_ways():
    """A route that divides its packets has each of its ways with a weight."""
    ways = hop(2, 3, address(GATEWAY, "fe80::1")) + hop(3, 1)
    body = route(address(DST, "2001:db8::"), attribute(MULTIPATH, ways), family=INET6, length=32)
    assert parse_route(body) == Route(
        ip_address("2001:db8::"), 32, None, 0, 4, (Hop(2, ip_address("fe80::1"), 3), Hop(3, None, 1))
    )


@pytest.mark.parametrize("other", [{"kind": LOCAL}, {"family": MPLS}, {"kind": 5, "family": 128}])
def test_parse_route_passes_over_others(other):
    """Routes that are not unicast, or neither of IPv4 nor of IPv6, are none here."""
    assert parse_route(route(number(OIF, 2), **other)) is None


@pytest.mark.parametrize("broken", [b"", route(address(DST, "10.0.0.1"))[:-1], route(attribute(DST, b"abc"))])
def test_parse_route_refuses_what_is_broken(broken):
    """A message that is cut off, or an address of three bytes, is a ValueError."""
    with pytest.raises(ValueError, match=r"netlink|address"):
        parse_route(broken)


def test_parse_route_refuses_a_hop_that_is_too_long():
    """A way that claims more bytes than there are is a ValueError, not an endless loop."""
    for length in (0, 7, 60):
        with pytest.raises(ValueError, match="claims"):
            parse_route(route(attribute(MULTIPATH, pack("=HBBi", length, 0, 0, 2))))


def test_parse_qdisc():
    """A discipline's counters come from the newer attribute, which has all of them."""
    expected = Qdisc(2, "fq_codel", 2**40, 12, 3, 4, 5, 1, 2)
    assert parse_qdisc(qdisc(attribute(7, BASIC + QUEUE))) == expected
    assert parse_qdisc(qdisc(attribute(7, BASIC + QUEUE), parent=0)) == expected


def test_parse_qdisc_of_an_old_kernel():
    """Without the newer attribute the older one has to do, which knows no requeues; without both all is 0."""
    legacy = attribute(3, pack("=QIIIIIIIxxxx", 100, 12, 3, 5, 0, 0, 1, 2))
    assert parse_qdisc(qdisc(legacy)) == Qdisc(2, "fq_codel", 100, 12, 3, 0, 5, 1, 2)
    assert parse_qdisc(qdisc()) == Qdisc(2, "fq_codel", 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("parent", [0x10001, 0xFFFFFFF1])
def test_parse_qdisc_passes_over_children(parent):
    """Disciplines within others, and those for packets that come in, are none here."""
    assert parse_qdisc(qdisc(parent=parent)) is None


def test_the_running_kernel_lists_both():
    """The kernel lists routes and disciplines to anybody, unless the machine forbids netlink."""
    tables = TableSocket()
    try:
        routes, qdiscs = list(tables.routes()), list(tables.qdiscs())
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
            raise
        pytest.skip(f"netlink is forbidden here: {error}")
    finally:
        tables.close()
    assert all(route.hops for route in routes)
    assert all(qdisc.kind for qdisc in qdiscs)


@given(st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_parsers_return_or_raise_value_error(junk):
    """Messages of any content, also behind a head that makes sense, never raise anything but ValueError."""
    for parse, body in (
        (parse_route, junk),
        (parse_qdisc, junk),
        (parse_route, route(junk)),
        (parse_qdisc, qdisc(junk)),
    ):
        with suppress(ValueError):
            parse(body)


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_parsers_take_nested_junk(junk):
    """Junk within the attributes that hold others never raises anything but ValueError, and the parsers end."""
    with suppress(ValueError):
        parse_route(route(attribute(MULTIPATH, junk)))
    with suppress(ValueError):
        parse_qdisc(qdisc(attribute(7, junk)))

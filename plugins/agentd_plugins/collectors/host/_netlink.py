"""Reads network devices and their addresses from the kernel over a route netlink socket: netlink(7), rtnetlink(7)."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import NamedTuple

HEADER = Struct("=IHHII")
"""``struct nlmsghdr``: length with this header, type, flags, sequence number, port."""
ATTRIBUTE = Struct("=HH")
"""``struct rtattr``: length with this header, type."""
LINK = Struct("=BxHiII")
"""``struct ifinfomsg``: family, type of device (ARPHRD_…), index, flags (IFF_…), mask of changes."""
ADDRESS = Struct("=BBBBi")
"""``struct ifaddrmsg``: family, length of the prefix in bits, flags, scope, index of the device."""
STATUS = Struct("=i")
"""What an error or the end of a dump begins with: 0, or the number of an error below zero."""

NLMSG_ERROR, NLMSG_DONE, NLMSG_MIN_TYPE = 2, 3, 16
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
RTM_GETLINK, RTM_GETADDR = 18, 22
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFLA_IFNAME, IFLA_STATS64 = 3, 23  # linux/if_link.h
ATTRIBUTE_TYPE = 0x3FFF  # without the bits that mark nested attributes and byte order

TRIES = 3
BUFFER = 65536  # the kernel fills at most 32 KiB at once

STATS64 = (
    "receive_packets transmit_packets receive_bytes transmit_bytes receive_errors transmit_errors receive_dropped "
    "transmit_dropped multicast collisions receive_length_errors receive_over_errors receive_crc_errors "
    "receive_frame_errors receive_fifo_errors receive_missed_errors transmit_aborted_errors transmit_carrier_errors "
    "transmit_fifo_errors transmit_heartbeat_errors transmit_window_errors receive_compressed transmit_compressed "
    "receive_nohandler"
).split()
"""The numbers in ``struct rtnl_link_stats64`` (linux/if_link.h); the last one came with Linux 4.6."""


class Link(NamedTuple):
    """One network device: ``attributes`` are those asked for that it has, by their number (IFLA_…)."""

    type: int
    ifindex: int
    flags: int
    attributes: dict[int, bytes]


class Address(NamedTuple):
    """One IP address of the device ``ifindex``, and how many bits of it name the network."""

    ifindex: int
    ip: IPv4Address | IPv6Address
    prefix_length: int


def named(link: Link) -> str:
    """Return the name of a device, which may be any bytes, as text."""
    return link.attributes.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="backslashreplace")


def opened() -> socket.socket:
    """Return a new socket to the kernel's network configuration. Raises ``OSError`` where that is forbidden."""
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    # A dump is made inside the calls that ask for it and take it: its next part is always there, or never comes.
    route.settimeout(0)
    return route


class RouteSocket:
    """A socket to the kernel's network configuration, opened at its first use and anew after each error.

    It sees the network namespace in which the agent runs. Errors are ``OSError``, and ``ValueError`` for an answer that
    makes no sense.
    """

    def __init__(self, open: Callable[[], socket.socket] = opened) -> None:
        self._open = open
        self._socket: socket.socket | None = None
        self._sequence = 0

    def links(self, wanted: frozenset[int]) -> Iterator[Link]:
        """Yield the network devices with the wanted attributes (linux/if_link.h), in the kernel's order."""
        for body in self._dump(RTM_GETLINK, LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, kind, ifindex, flags, _ = unpacked(LINK, body)
            yield Link(kind, ifindex, flags, attributes(body, LINK.size, wanted))

    def addresses(self) -> Iterator[Address]:
        """Yield the IP addresses of all devices, of a connection between two points the address at this end."""
        wanted = frozenset({IFA_ADDRESS, IFA_LOCAL})
        for body in self._dump(RTM_GETADDR, ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            _, prefix_length, _, _, ifindex = unpacked(ADDRESS, body)
            found = attributes(body, ADDRESS.size, wanted)
            yield Address(ifindex, ip_address(found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")), prefix_length)

    def close(self) -> None:
        """Close the socket; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _dump(self, kind: int, request: bytes) -> list[bytes]:
        """Return the bodies of all messages that answer a request.

        A dump is interrupted where the list changes meanwhile, and may then lack an entry or have one twice. It is
        asked for again; on a machine where devices come and go all the time, the last answer has to do.
        """
        bodies: list[bytes] = []
        try:
            for _ in range(TRIES):
                bodies, interrupted = self._ask(kind, request)
                if not interrupted:
                    break
        except BaseException:
            self.close()  # what is left of the answer goes with the socket
            raise
        return bodies

    def _ask(self, kind: int, request: bytes) -> tuple[list[bytes], bool]:
        if self._socket is None:
            self._socket = self._open()
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        size = HEADER.size + len(request)
        self._socket.send(HEADER.pack(size, kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + request)
        bodies = []
        interrupted = False
        while True:
            for answer, flags, sequence, body in messages(received(self._socket)):
                if sequence != self._sequence:  # answers some other request
                    continue
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if answer >= NLMSG_MIN_TYPE:
                    bodies.append(body)
                elif answer in {NLMSG_ERROR, NLMSG_DONE}:
                    check(body)
                    if answer == NLMSG_DONE:
                        return bodies, interrupted


def received(route: socket.socket) -> bytes:
    """Return the next datagram from the kernel; those that other processes send are thrown away."""
    while True:
        try:
            data, _, flags, sender = route.recvmsg(BUFFER)
        except BlockingIOError:
            raise OSError(errno.ENODATA, "the kernel's answer over netlink stops before its end") from None
        if sender[0] != 0:
            continue
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, f"the kernel's answer over netlink is longer than {BUFFER} bytes")
        return data


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence number and body of each message in a datagram."""
    start = 0
    while start < len(data):
        length, kind, flags, sequence, _ = unpacked(HEADER, data, start)
        if length < HEADER.size or start + length > len(data):
            raise ValueError(f"netlink: a message claims {length} bytes where {len(data) - start} are left")
        yield kind, flags, sequence, data[start + HEADER.size : start + length]
        start += (length + 3) & ~3


def attributes(body: bytes, start: int, wanted: frozenset[int]) -> dict[int, bytes]:
    """Return the wanted attributes of a message, whose first one begins at ``start``."""
    found: dict[int, bytes] = {}
    unpack = ATTRIBUTE.unpack_from  # a device has about 40 attributes: this loop is most of what a dump costs
    last = len(body) - ATTRIBUTE.size
    while start <= last:
        length, kind = unpack(body, start)
        if length < ATTRIBUTE.size or start + length > len(body):
            raise ValueError(f"netlink: an attribute claims {length} bytes where {len(body) - start} are left")
        kind &= ATTRIBUTE_TYPE
        if kind in wanted:
            found[kind] = body[start + ATTRIBUTE.size : start + length]
            if len(found) == len(wanted):
                break
        start += (length + 3) & ~3
    return found


def check(body: bytes) -> None:
    """Raise the ``OSError`` that an error or the end of a dump tells of, if any; old kernels end with no number."""
    (status,) = unpacked(STATUS, body) if body else (0,)
    if status:
        raise OSError(abs(status), f"the kernel refuses a netlink request: {os.strerror(abs(status))}")


def unpacked(layout: Struct, data: bytes, start: int = 0) -> tuple[int, ...]:
    """Return the numbers of a structure. Raises ``ValueError`` where the data end within it."""
    if start + layout.size > len(data):
        raise ValueError(f"netlink: {len(data) - start} bytes are left where {layout.size} are needed")
    return layout.unpack_from(data, start)

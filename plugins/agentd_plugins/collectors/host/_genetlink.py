"""Asks drivers' families of generic netlink, such as ethtool and nl80211: Documentation/userspace-api/netlink/."""

import errno
import socket
import sys
from collections.abc import Callable, Iterator
from struct import Struct, pack

from agentd_plugins.collectors.host._netlink import (
    ATTRIBUTE,
    ATTRIBUTE_TYPE,
    NLMSG_MIN_TYPE,
    RouteSocket,
    attributes,
    unpacked,
)

HEADER = Struct("=BBxx")
"""``struct genlmsghdr``: command, version."""

NETLINK_GENERIC, NLA_F_NESTED = 16, 0x8000  # linux/netlink.h
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2  # linux/genetlink.h
GENL_ID_CTRL = NLMSG_MIN_TYPE


def opened() -> socket.socket:
    """Return a new socket to the kernel's generic netlink. Raises ``OSError`` where that is forbidden."""
    generic = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    generic.settimeout(0)  # an answer is made inside the calls that ask for it and take it
    return generic


class FamilySocket(RouteSocket):
    """A socket to one family of generic netlink, found by its name; opened at its first use and anew after each error.

    Errors are ``OSError``, of which ``FileNotFoundError`` says that this kernel lacks the family, and ``ValueError``
    for an answer that makes no sense.
    """

    def __init__(self, family: str, open: Callable[[], socket.socket] = opened) -> None:
        super().__init__(open)
        self._family = family.encode() + b"\0"
        self._number: int | None = None

    def ask(self, command: int, request: bytes = b"") -> list[bytes]:
        """Return the attributes, one text of bytes for each thing, that answer a command which lists things."""
        if self._number is None:
            self._number = self._find()
        try:
            answers = self._dump(self._number, HEADER.pack(command, 1) + request)
        except OSError:
            self._number = None  # a module that is loaded again has another number
            raise
        return [body[HEADER.size :] for body in answers]

    def _find(self) -> int:
        wanted = frozenset({CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME})
        for body in self._dump(GENL_ID_CTRL, HEADER.pack(CTRL_CMD_GETFAMILY, 1)):
            found = attributes(body, HEADER.size, wanted)
            if found.get(CTRL_ATTR_FAMILY_NAME) == self._family:
                return number(found.get(CTRL_ATTR_FAMILY_ID, b""))
        name = self._family.rstrip(b"\0").decode()
        raise FileNotFoundError(errno.ENOENT, f"the kernel has no generic netlink family {name}")


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute as it goes into a request."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, inner: bytes) -> bytes:
    """Return an attribute that holds other attributes, and says so: newer families insist on it."""
    return attribute(kind | NLA_F_NESTED, inner)


def uint32(kind: int, value: int) -> bytes:
    """Return an attribute that is a number of 32 bits."""
    return attribute(kind, pack("=I", value))


def every(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute, among which some may have the same type.

    Raises ``ValueError`` where the data end within one.
    """
    start = 0
    while start + ATTRIBUTE.size <= len(data):
        length, kind = unpacked(ATTRIBUTE, data, start)
        if length < ATTRIBUTE.size or start + length > len(data):
            raise ValueError(f"netlink: an attribute claims {length} bytes where {len(data) - start} are left")
        yield kind & ATTRIBUTE_TYPE, data[start + ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3


def number(value: bytes) -> int:
    """Return the unsigned number of 8, 16, 32 or 64 bits that an attribute holds, in this machine's byte order."""
    if len(value) not in {1, 2, 4, 8}:
        raise ValueError(f"netlink: {len(value)} bytes are no number")
    return int.from_bytes(value, sys.byteorder)

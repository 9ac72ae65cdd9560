"""Says which network devices changed since it was last asked: listens to what the kernel announces, rtnetlink(7)."""

import errno
import socket
from collections.abc import Callable

from agentd_plugins.collectors.host._netlink import HEADER, LINK

RTMGRP_LINK = 1  # linux/rtnetlink.h: devices that come, go or change
RTM_NEWLINK, RTM_DELLINK = 16, 17
BUFFER = 16384  # some ten announcements; what does not fit is announced as lost, which says enough


def subscribed() -> socket.socket:
    """Return a socket on which the kernel announces changes. Raises ``OSError`` where that is forbidden."""
    listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        listening.settimeout(0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        listening.bind((0, RTMGRP_LINK))
    except OSError:
        listening.close()
        raise
    return listening


class LinkWatch:
    """Listens for changes of the network devices in the agent's network namespace.

    Nothing wakes up for an announcement: they lie in the socket until somebody asks, which takes no lock of the kernel
    and no device's driver. A link's state is announced within a second; the speed of a device and its duplex mode are
    not announced by themselves.
    """

    def __init__(self, open: Callable[[], socket.socket] = subscribed) -> None:
        self._open = open
        self._socket: socket.socket | None = None

    def changed(self) -> set[int] | None:
        """Return the indexes of the devices that came, went or changed; None where it may have been any.

        That is so at the first call, which begins to listen, and where announcements were lost. Raises ``OSError``
        where the kernel does not let the agent listen.
        """
        if self._socket is None:
            self._socket = self._open()
            return None
        indexes: set[int] | None = set()
        while True:
            try:
                head = self._socket.recv(HEADER.size + LINK.size)
            except BlockingIOError:
                return indexes
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self.close()
                    return None
                indexes = None
                continue
            if indexes is not None and len(head) == HEADER.size + LINK.size:
                _, kind, *_ = HEADER.unpack_from(head)
                if kind in {RTM_NEWLINK, RTM_DELLINK}:
                    _, _, ifindex, *_ = LINK.unpack_from(head, HEADER.size)
                    indexes.add(ifindex)

    def close(self) -> None:
        """Stop listening; the next call begins anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

"""The reader of the kernel's announcements about network devices."""

import errno
from struct import pack

import pytest

from agentd_plugins.collectors.host._linkwatch import LinkWatch


def announcement(ifindex, kind=16):
    """Return the head of an announcement."""
    return pack("=IHHII", 1000, kind, 0, 0, 0) + pack("=BxHiII", 0, 1, ifindex, 0, 0)


class Socket:
    """A socket on which a pretended kernel announces things or fails."""

    def __init__(self, *script):
        self.script = list(script)
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return self

    def recv(self, size):
        answer = self.script.pop(0) if self.script else BlockingIOError()
        if isinstance(answer, Exception):
            raise answer
        return answer[:size]

    def close(self):
        self.closed += 1


def test_the_first_answer_is_that_anything_may_have_changed():
    """Listening begins at the first call, which knows nothing of what was before."""
    socket = Socket()
    watch = LinkWatch(socket.open)
    assert socket.opened == 0
    assert watch.changed() is None
    assert watch.changed() == set()
    assert socket.opened == 1


def test_announcements_name_devices_once():
    """Devices that come, go or change are named until somebody asked; other messages name none."""
    socket = Socket(announcement(7), announcement(8, 17), announcement(7), announcement(9, 3), b"short")
    watch = LinkWatch(socket.open)
    watch.changed()
    assert watch.changed() == {7, 8}
    assert watch.changed() == set()


def test_lost_announcements_are_said():
    """An overflow says that anything may have changed, and what is left in the socket is thrown away with it."""
    socket = Socket(announcement(7), OSError(errno.ENOBUFS, "lost"), announcement(8))
    watch = LinkWatch(socket.open)
    watch.changed()
    assert watch.changed() is None
    assert watch.changed() == set()
    assert socket.closed == 0


def test_a_broken_socket_is_opened_anew():
    """After any other error listening begins again."""
    socket = Socket(OSError(errno.EBADF, "bad"))
    watch = LinkWatch(socket.open)
    watch.changed()
    assert watch.changed() is None
    assert socket.closed == 1
    assert watch.changed() is None
    assert socket.opened == 2


def test_close_may_come_twice():
    """Closing closes the socket once, and a later call begins anew."""
    socket = Socket()
    watch = LinkWatch(socket.open)
    watch.close()
    watch.changed()
    watch.close()
    watch.close()
    assert socket.closed == 1
    assert watch.changed() is None


def test_the_running_kernel_can_be_listened_to():
    """The kernel lets anybody listen, unless the machine forbids netlink."""
    watch = LinkWatch()
    try:
        assert watch.changed() is None
    except OSError as error:
        pytest.skip(f"netlink is forbidden here: {error}")
    assert watch.changed() is not None
    watch.close()

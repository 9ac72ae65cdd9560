"""Whether the clock is right."""

import pytest

from agentd import timesync


def test_the_kernel_tells():
    """Where the kernel may be asked, it is what counts."""
    assert timesync.synchronised() in (True, False, None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [((), None), (("systemd/timesync/clock",), False), (("systemd/timesync/synchronized",), True)],
)
def test_otherwise_timesyncd_does(tmp_path, monkeypatch, files, expected):
    """Its file says that the clock was set since the boot; without its folder nobody knows."""
    monkeypatch.setattr(timesync, "_kernel", lambda: None)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    assert timesync.synchronised(tmp_path) is expected


@pytest.mark.parametrize(("status", "expected"), [(0x40, False), (0x2041, False), (0x2001, True)])
def test_the_status_of_the_kernel(monkeypatch, status, expected):
    """The bit STA_UNSYNC is what counts."""

    class Library:
        def __init__(self, _name):
            pass

        def adjtimex(self, answer):
            answer[timesync.STATUS : timesync.STATUS + 4] = status.to_bytes(4, timesync.sys.byteorder)
            return 0

    monkeypatch.setattr(timesync.ctypes, "CDLL", Library)
    assert timesync.synchronised() is expected

"""Talking to systemd."""

import socket

import pytest

from agentd.systemd import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_sent_as_one_datagram(tmp_path, monkeypatch, abstract):
    """The socket is a path, or a name in the abstract namespace behind an @ (sd_notify(3))."""
    path = f"@agentd-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + path[1:] if abstract else path)
        listening.settimeout(10)
        assert notify(READY="1", STATUS="14 collectors") is True
        assert listening.recv(1000) == b"READY=1\nSTATUS=14 collectors"


@pytest.mark.parametrize("path", [None, "", "relative", "/nowhere/at/all", "/dev/null", "/" + "x" * 200])
def test_without_systemd_nothing_happens(monkeypatch, path):
    """Nobody listens, and the agent runs on without."""
    if path is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert notify(READY="1") is False

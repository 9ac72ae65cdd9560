"""Servers that plugins talk to, as real processes."""

import pytest


@pytest.fixture
def serve(processes, server_binary, tmp_path):
    """Starts a server on a port, in a folder of its own; returns when the port is open."""

    def start(name, *arguments, port, folder="server"):
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        command = [server_binary(name), *map(str, arguments)]
        server = processes.server(command, port, path, {"PATH": "/usr/bin:/bin"}, ready=None)
        server.until(lambda: listens(port))
        return server

    return start


def listens(port):
    """Say whether there is somebody on a port of the loopback."""
    with open("/proc/net/tcp") as file:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(file)[1:])

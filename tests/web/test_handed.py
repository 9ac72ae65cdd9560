"""Sockets that systemd has opened, in the place of addresses of the configuration."""

import asyncio
import logging
import socket

import pytest

from agentd.config import WebSettings
from agentd.web.handed import Handed
from agentd.web.server import WebServer


@pytest.fixture
def opened():
    """Opens sockets that listen, and closes them at the end."""
    sockets = []

    def open_one(address="127.0.0.1", family=socket.AF_INET, *, dualstack=False):
        sockets.append(socket.create_server((address, 0), family=family, dualstack_ipv6=dualstack))
        return sockets[-1]

    yield open_one
    for each in sockets:
        each.close()


def port(listening):
    """Return the port of a socket."""
    return listening.getsockname()[1]


def taken(handed, host, number):
    """Return how many sockets stand for an address."""
    copies = handed.take(host, number)
    for each in copies:
        each.close()
    return len(copies)


def test_a_socket_stands_for_the_address_that_it_has(opened):
    """Host and port have to be the same, however the configuration writes an address of IPv6."""
    four, six = opened(), opened("::1", socket.AF_INET6)
    handed = Handed([four, six])
    assert taken(handed, "127.0.0.1", port(four)) == 1
    assert taken(handed, "127.0.0.1", port(six)) == 0
    assert taken(handed, "127.0.0.2", port(four)) == 0
    assert taken(handed, "::1", port(six)) == 1
    assert taken(handed, "0:0:0:0:0:0:0:1", port(six)) == 1
    assert taken(handed, "", port(four)) == 0
    assert taken(handed, "example.invalid", port(four)) == 0


def test_all_addresses_and_localhost(opened):
    """Without a host it is all addresses that are meant, of either family; localhost is both loopback addresses."""
    every, both = opened("0.0.0.0"), opened("::", socket.AF_INET6, dualstack=True)
    one = opened()
    handed = Handed([every, both, one])
    assert taken(handed, "", port(every)) == taken(handed, "", port(both)) == 1
    assert taken(handed, "localhost", port(one)) == 1
    assert handed.left() == []


def test_what_nobody_takes_is_named(opened, tmp_path):
    """Addresses of IPv6 in brackets, Unix sockets by their paths."""
    six = opened("::1", socket.AF_INET6)
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        handed = Handed([six, local])
        assert handed.left() == [f"[::1]:{port(six)}", str(tmp_path / "s")]


async def answer(number):
    """Return the first line of what a server says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    return line


async def test_the_server_answers_on_them(opened, caplog):
    """What waited before the server was there is answered, and it can be stopped and started again on the same one."""
    mine, other = opened(), opened()
    handed = Handed([mine, other])
    server = WebServer(WebSettings(listen=[f"127.0.0.1:{port(mine)}"]), handed=handed)
    waiting = asyncio.create_task(answer(port(mine)))
    with caplog.at_level(logging.WARNING):
        await server.start()
    assert server.bound == [("127.0.0.1", port(mine))]
    assert (await waiting).startswith(b"HTTP/1.0 404")
    assert [record.getMessage() for record in caplog.records] == [
        f"systemd has opened 127.0.0.1:{port(other)}, which [web] listen does not name: nobody answers there"
    ]
    await server.stop()
    waiting = asyncio.create_task(answer(port(mine)))
    await server.start()
    assert (await waiting).startswith(b"HTTP/1.0 404"), "who comes meanwhile is not turned away"
    await server.stop()
    handed.close()
    assert mine.fileno() == -1

"""The sockets that the web server listens on: opened, replaced without a gap, and closed."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agentd.config import Listener, parse_address
from agentd.web.handed import Handed
from agentd.web.peers import is_loopback

log = logging.getLogger(__name__)

BACKLOG = 128
"""Connections that the kernel keeps ready until they are accepted."""


class ListenError(Exception):
    """The agent cannot listen where it was told to."""

    taken = False
    """The address is somebody's already."""


@dataclass(slots=True, eq=False)
class Listening:
    """A listener that is open. Its connections go by what it says now, and not when they began."""

    listener: Listener | None
    """None for the Unix socket."""
    tls: bool = False
    servers: list[asyncio.Server] = field(default_factory=list)
    bound: list[tuple[str, int]] = field(default_factory=list)
    """Where it really listens: where port 0 was asked for, at the port that was free."""

    @property
    def reachable(self) -> list[tuple[str, int]]:
        """Those of its addresses that other machines can reach."""
        return [address for address in self.bound if not is_loopback(address[0])]


Protocols = Callable[[Listening], asyncio.BaseProtocol]
"""Makes the protocol for a new connection."""


class Listeners:
    """All that are open."""

    def __init__(self, protocols: Protocols, handed: Handed | None = None) -> None:
        self.open: list[Listening] = []
        self._protocols = protocols
        self._handed = Handed() if handed is None else handed
        self._local: Listening | None = None
        self._path: Path | None = None

    async def replace(self, wanted: Iterable[tuple[Listener, bool]]) -> list[Listening]:
        """Listen on these addresses, each with whether TLS is spoken there, and no longer on others.

        Those that are open stay so, with the connections that wait for them; new ones are opened before old ones are
        closed. Returns those whose connections are to end: what was closed, and what speaks another language now.
        Raises ``ListenError`` where one cannot be opened; then nothing has changed.
        """
        old = list(self.open)
        plan: list[tuple[Listening | None, Listener, bool]] = []
        for listener, tls in wanted:
            kept = next((each for each in old if each.listener and each.listener.address == listener.address), None)
            if kept is not None:
                old.remove(kept)
            plan.append((kept, listener, tls))
        opened: list[Listening] = []
        gave_way: list[Listening] = []
        after: list[Listening] = []
        try:
            for kept, listener, tls in plan:
                stays = kept or Listening(listener, tls)
                if kept is None:
                    await self._open_in_place_of(stays, [each for each in old if each not in gave_way], gave_way)
                    opened.append(stays)
                after.append(stays)
        except BaseException:
            _close(opened)
            await self._reopen(gave_way)
            raise
        ended = list(old)
        for kept, listener, tls in plan:
            if kept is not None:
                if kept.tls != tls:
                    ended.append(kept)
                kept.listener, kept.tls = listener, tls
        self.open = after
        _close(old)
        return ended

    async def listen_locally(self, path: Path) -> None:
        """Listen on a Unix socket, too. Raises ``ListenError``."""
        listening = Listening(None)
        try:
            _clear(path)
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(lambda: self._protocols(listening), str(path), backlog=BACKLOG)
            listening.servers = [server]
            self._local, self._path = listening, path
            os.chmod(path, 0o660)
        except OSError as error:
            raise ListenError(f"cannot listen on the socket {path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Stop listening. Connections stay as they are."""
        _close([*self.open, *([self._local] if self._local else [])])
        self.open, self._local = [], None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    async def _open_in_place_of(self, new: Listening, old: list[Listening], gave_way: list[Listening]) -> None:
        """Open a listener; where an old one has its port (127.0.0.1 of what is to be all addresses), that one ends."""
        try:
            await self._open(new)
        except ListenError as error:
            rivals = [each for each in old if not {port for _, port in each.bound}.isdisjoint(_port(new))]
            if not error.taken or not rivals:
                raise
            _close(rivals)
            gave_way += rivals
            await self._open(new)

    async def _reopen(self, listenings: list[Listening]) -> None:
        for listening in listenings:
            try:
                await self._open(listening)
            except ListenError as error:
                log.error("%s", error)

    async def _open(self, listening: Listening) -> None:
        if listening.listener is None:
            return
        host, port = parse_address(listening.listener.address)
        shown = spelled((host, port))
        make = partial(asyncio.get_running_loop().create_server, lambda: self._protocols(listening), backlog=BACKLOG)
        try:
            handed = [await make(sock=each) for each in self._handed.take(host, port)]
            listening.servers = handed or [await make(host or None, port)]
        except UnicodeError as error:  # as a host's name it cannot be looked up
            raise ListenError(f"cannot listen on {shown}: {host!r} is no name of a host") from error
        except OSError as error:
            known = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            reason = (known or str(error)).lower()
            advice = ""
            if error.errno == errno.EADDRINUSE:
                advice = "; another program (or another agentd) has that port: choose one with --listen or [web] listen"
            problem = ListenError(f"cannot listen on {shown}: {reason}{advice}")
            problem.taken = error.errno == errno.EADDRINUSE
            raise problem from error
        listening.bound = [each.getsockname()[:2] for server in listening.servers for each in server.sockets]


def spelled(address: tuple[str, int]) -> str:
    """Return an address as one writes it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _port(listening: Listening) -> set[int]:
    return set() if listening.listener is None else {parse_address(listening.listener.address)[1]}


def _close(listenings: Iterable[Listening]) -> None:
    for listening in listenings:
        for server in listening.servers:
            server.close()
        listening.servers = []


def _clear(path: Path) -> None:
    """Make way for a socket. Raises ``ListenError`` where somebody answers on it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not path.is_socket():
                raise ListenError(
                    f"cannot listen on the socket {path}: something that is none is in its place"
                ) from None
            path.unlink(missing_ok=True)  # left behind by an agent that was killed
            return
    raise ListenError(
        f"another agentd is running: its socket {path} answers. Stop it, or give this one a runtime directory of its "
        "own (the environment variable RUNTIME_DIRECTORY)"
    )

"""How a WebSocket to an agent is opened: one attempt at a time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from ssl import SSLContext

import aiohttp

from agentd.client.ending import Ending, not_opened

SUBPROTOCOL = "agentd.telemetry.v1"

OPEN_WITHIN = 15.0
"""Seconds that an agent has to open a WebSocket."""

Token = str | Callable[[], str | Awaitable[str]]


class Dialer:
    """Opens WebSockets to one agent."""

    def __init__(self, url: str, token: Token | None, *, ssl: SSLContext | bool) -> None:
        self._url = url
        self._token = token
        self._ssl = ssl

    @property
    def renewable(self) -> bool:
        """Whether the next attempt may have another token."""
        return callable(self._token)

    async def dial(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse | Ending:
        """Return a WebSocket that speaks the protocol, or why there is none. Never raises."""
        try:
            async with asyncio.timeout(OPEN_WITHIN):
                token = self._token() if callable(self._token) else self._token
                token = await token if inspect.isawaitable(token) else token
                socket = await session.ws_connect(
                    self._url,
                    protocols=(SUBPROTOCOL,),
                    headers={"Authorization": f"Bearer {token}"} if token else None,
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                    ssl=self._ssl,
                )
        except aiohttp.WSServerHandshakeError as error:
            return not_opened(error.status, error.headers.get("Retry-After") if error.headers else None)
        except TimeoutError:
            return Ending(f"no answer within {OPEN_WITHIN:g} s")
        except Exception as error:  # noqa: BLE001  # a token's function may raise anything; the robot goes on
            return Ending(f"cannot connect: {error or type(error).__name__}")
        if socket.protocol != SUBPROTOCOL:
            await socket.close()
            return Ending(f"what answers there does not speak {SUBPROTOCOL}", code=4400)
        return socket

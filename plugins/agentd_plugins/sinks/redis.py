"""Appends events to streams of Redis, or of another server that speaks its protocol (Valkey, Dragonfly …)."""

import asyncio
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from agentd.plugin import Context, Record, Reject, Retry, Sink, Url, hookimpl
from agentd_plugins.sinks._server import ServerConfig, Template, check_server, tls, where

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

PATIENCE = 10.0
"""Seconds that connecting may take, the log-in included."""

LOADING = 1.0
"""Seconds after which a server is asked again that is still loading its data."""

ADVICE = {
    "AuthenticationError": "check user and password",
    "BusyLoadingError": "it is still loading its data",
    "ClusterDownError": "its cluster is down",
    "MasterDownError": "it is a replica that has lost its master: give the address of the master",
    "MovedError": "it is one node of a cluster, and this stream belongs to another: give the address of that node",
    "NoPermissionError": "this user needs the command XADD and the keys of the streams (ACL SETUSER)",
    "OutOfMemoryError": "its memory is full: set max_length, or give it more (maxmemory)",
    "ReadOnlyError": "it is a replica: give the address of the master",
}
"""What to do, by the names of the library's errors."""


class RedisConfig(ServerConfig):
    """Options of the Redis sink."""

    url: Annotated[Url, Meta(examples=["redis://localhost:6379/0"])]
    """The server: redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix:///PATH?db=DATABASE."""
    stream: str = "brain.events.{type}"
    """The key of the stream. {type} and {source} stand for those of the event; without them, all go into one."""
    max_length: Annotated[int, Meta(gt=0)] | None = None
    """How many entries a stream keeps, or somewhat more (MAXLEN ~); left out, Redis keeps all."""

    def __post_init__(self) -> None:
        wrong = check_server(self, {"redis": False, "rediss": True, "unix": False}, query="db=[0-9]+")
        if self.user is not None and self.password is None:
            wrong.append("user needs password")
        try:
            Template(self.stream, ("type", "source"))
        except ValueError as error:
            wrong.append(f"stream: {error}")
        if wrong:
            raise ValueError("; ".join(wrong))


class Head(msgspec.Struct):
    """What has to be known of an envelope; the rest is passed over, which is faster."""

    id: str = ""


id_of = msgspec.json.Decoder(Head).decode


class Redis(Sink[RedisConfig]):
    """Appends each event to a stream, with the fields data (the whole event as JSON), type and id.

    What Redis acknowledges is as safe as its ``appendfsync`` makes it.
    """

    name = "redis"

    _library: ModuleType
    _pool: "ConnectionPool | None" = None
    _connection: Any = None

    def __init__(self, config: RedisConfig, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._stream = Template(config.stream, ("type", "source"))
        self._where = f"Redis at {where(config.url, 6379)}"
        trim = () if config.max_length is None else (b"MAXLEN", b"~", b"%d" % config.max_length)
        self._options = (*trim, b"*", b"data")

    async def start(self) -> None:
        """Connect and log in."""
        if self._pool is None:
            try:
                self._library = importlib.import_module("redis.asyncio")
            except ImportError:
                raise RuntimeError("the library redis is missing: pip install 'agentd[redis]'") from None
            self._pool = self._library.ConnectionPool.from_url(self.config.url, **self._settings())
        await self._connect()

    async def stop(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)

    async def send(self, events: Sequence[Record]) -> None:
        """Append all in one pipeline, and read the answer to each."""
        connection, old = self._connection, True
        if connection is None:
            connection, old = await self._connect(), False
        answers: list[Exception | None] = []  # None: acknowledged
        try:
            await self._append(connection, events, answers)
        except (self._library.RedisError, OSError) as error:
            await self.stop()
            if old and not answers:  # it broke while nobody used it
                await self.send(events)
                return
            answers.append(error)
        except BaseException:  # cancelled: answers that are still to come would be taken for those to the next batch
            await self.stop()
            raise
        if any(answers):
            self._judge(events, answers)

    async def _append(self, connection: Any, events: Sequence[Record], answers: list[Exception | None]) -> None:
        # A connection of one's own: the library's pipeline loses all answers where one of them fails to arrive.
        stream, options = self._stream, self._options
        commands = [
            (b"XADD", stream(each), *options, each.json, b"type", each.type, b"id", id_of(each.json).id)
            for each in events
        ]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for _ in events:
            try:
                await connection.read_response()
                answers.append(None)
            except self._library.ResponseError as error:
                answers.append(error)

    def _judge(self, events: Sequence[Record], answers: Sequence[Exception | None]) -> None:
        """Raise what follows from answers of which some are no acknowledgement."""
        for error in answers:
            if error is not None and not str(error).startswith("WRONGTYPE"):
                accepted = next(index for index, answer in enumerate(answers) if answer is not None)
                raise self._retry(error, accepted) from error
        wrong = [event for event, answer in zip(events, answers, strict=True) if answer is not None]
        keys = ", ".join(sorted({repr(self._stream(event)) for event in wrong})[:5])
        raise Reject((event.id for event in wrong), f"{self._where}: there is something that is no stream in {keys}")

    async def _connect(self) -> Any:
        await self.stop()
        if self._pool is None:
            raise RuntimeError("it has not been started")
        connection: Any = self._pool.make_connection()  # type: ignore[no-untyped-call]  # so the library has it
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.connect()
        except TimeoutError:
            await connection.disconnect(nowait=True)
            raise Retry(f"{self._where} does not answer") from None
        except (self._library.RedisError, OSError) as error:
            raise self._retry(error) from error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection
        return connection

    def _retry(self, error: Exception, accepted: int = 0) -> Retry:
        advice = next((ADVICE[each.__name__] for each in type(error).__mro__ if each.__name__ in ADVICE), "")
        loading = type(error).__name__ == "BusyLoadingError"
        text = f"{self._where}: {error}" + (f" ({advice})" if advice else "")
        return Retry(text, after=LOADING if loading else None, accepted=accepted)

    def _settings(self) -> dict[str, Any]:
        config = self.config
        # The older protocol: the newer one begins with a command that an ACL may refuse, and has nothing for XADD.
        settings: dict[str, Any] = {"protocol": 2, "socket_connect_timeout": PATIENCE, "socket_timeout": None}
        if config.password is not None:
            settings |= {"username": config.user, "password": config.password.reveal()}
        if not config.url.startswith("unix:"):
            settings["socket_keepalive"] = True
        if config.url.startswith("rediss:"):
            tls(config)  # says better than the library what is wrong with a file
            settings |= {"ssl_ca_certs": config.ca_file, "ssl_check_hostname": True}
            settings |= {"ssl_certfile": config.cert_file, "ssl_keyfile": config.key_file}
        return settings


@hookimpl
def agentd_sinks() -> list[type[Redis]]:
    """Register the sink."""
    return [Redis]

"""Appends events to streams of Redis, or of another server that speaks its protocol (Valkey, Dragonfly …)."""

import asyncio
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from agentd.plugin import Context, Record, Reject, Retry, Sink, hookimpl
from agentd_plugins._redis import PATIENCE, RedisServer, advised, check, library, settings
from agentd_plugins.sinks._server import Template, where

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

FIELDS = ("type", "source", "target")

LOADING = 1.0
"""Seconds after which a server is asked again that is still loading its data."""


class RedisConfig(RedisServer):
    """Options of the Redis sink."""

    stream: str = "brain.events.{type}"
    """The key of the stream. {type}, {source} and {target} stand for those of the event ("-" where it has none), as
    they are: a key may have any characters. Without them, all go into one."""
    max_length: Annotated[int, Meta(gt=0)] | None = None
    """How many entries a stream keeps, or somewhat more (MAXLEN ~); left out, Redis keeps all."""

    def __post_init__(self) -> None:
        wrong = check(self)
        try:
            Template(self.stream, FIELDS)
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
    extra = "redis"

    _library: ModuleType
    _pool: "ConnectionPool | None" = None
    _connection: Any = None
    _proven = False  # whether the server has answered to an event on this connection

    def __init__(self, config: RedisConfig, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._stream = Template(config.stream, FIELDS)
        self._where = f"Redis at {where(config.url, 6379)}"
        trim = () if config.max_length is None else (b"MAXLEN", b"~", b"%d" % config.max_length)
        self._options = (*trim, b"*", b"data")

    async def start(self) -> None:
        """Connect and log in."""
        if self._pool is None:
            self._library = library()
            self._pool = self._library.ConnectionPool.from_url(self.config.url, **settings(self.config))
        await self._connect()

    async def stop(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)

    async def probe(self) -> str:
        """Connect, log in, and ask whether it is there."""
        await self.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connection.send_command("PING")
                await self._connection.read_response()
        except TimeoutError:
            raise Retry(f"{self._where} does not answer") from None
        except (self._library.RedisError, OSError) as error:
            if type(error).__name__ != "NoPermissionError":  # who may not ask this may append all the same
                raise self._retry(error) from error
        return f"{self._where} lets the agent in"

    async def send(self, events: Sequence[Record]) -> None:
        """Append all in one pipeline, and read the answer to each."""
        connection, old = self._connection, True
        if connection is None:
            connection, old = await self._connect(), False
        answers: list[Exception | None] = []  # None: acknowledged
        try:
            if not self._proven:
                # A server that still loads its data refuses what comes first, and may take what lies behind it.
                await self._append(connection, events[:1], answers)
                self._proven = True
            await self._append(connection, events[len(answers) :], answers)
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
        self._connection, self._proven = connection, False
        return connection

    def _retry(self, error: Exception, accepted: int = 0) -> Retry:
        loading = type(error).__name__ == "BusyLoadingError"
        text = f"{self._where}: {advised(error, 'the command XADD')}"
        return Retry(text, after=LOADING if loading else None, accepted=accepted)


@hookimpl
def agentd_sinks() -> list[type[Redis]]:
    """Register the sink."""
    return [Redis]

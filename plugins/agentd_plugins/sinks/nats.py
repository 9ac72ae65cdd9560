"""Publishes events to a stream of NATS JetStream."""

import asyncio
import importlib
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agentd.plugin import Context, Record, Reject, Retry, Secret, Sink, Url, hookimpl
from agentd_plugins.sinks._server import ServerConfig, Template, check_server, tls, where

PATIENCE = 10
"""Seconds that connecting may take, the log-in included."""

FIELDS = ("type", "source", "target")

REJECTED = {10054: "larger than the stream takes"}
"""Error codes of JetStream after which it makes no sense to try again."""


class NatsConfig(ServerConfig):
    """Options of the NATS sink."""

    url: Annotated[Url, Meta(examples=["nats://localhost:4222"])]
    """The server: nats://HOST:PORT, or tls://HOST:PORT."""
    subject: str = "brain.events.{type}"
    """The subject, which a stream of JetStream has to take. {type}, {source} and {target} stand for those of the event
    ("-" where it has none). Of what NATS gives a meaning, all but dots become underscores."""
    token: Secret | None = None
    """The token to log in with."""
    credentials_file: Annotated[str, Meta(examples=["/etc/agentd/fleet.creds"])] | None = None
    """A file of credentials (JWT and seed, as ``nsc`` writes it) to log in with; needs the library nkeys."""
    domain: str | None = None
    """The JetStream domain; left out, the server's own."""
    in_flight: Annotated[int, Meta(ge=1, le=4000)] = 256
    """How many events may wait for an acknowledgement."""

    def __post_init__(self) -> None:
        wrong = check_server(self, {"nats": False, "tls": True})
        if sum((self.user is not None, self.token is not None, self.credentials_file is not None)) > 1:
            wrong.append("expected only one of user, token and credentials_file")
        if (self.user is None) != (self.password is None):
            wrong.append("user and password need each other")
        try:
            Template(self.subject, FIELDS)
        except ValueError as error:
            wrong.append(f"subject: {error}")
        if re.search(r"[\s*>\0]|^\$|^_INBOX\b", self.subject) or not all(self.subject.split(".")):
            wrong.append(
                "subject: expected words with dots between them, without spaces, *, > and not beginning with $"
            )
        if wrong:
            raise ValueError("; ".join(wrong))


class Head(msgspec.Struct):
    """What has to be known of an envelope; the rest is passed over, which is faster."""

    id: str = ""


id_of = msgspec.json.Decoder(Head).decode


class TooLargeError(Exception):
    """An event is larger than the server takes."""


class Nats(Sink[NatsConfig]):
    """Publishes each event, the whole of it as JSON, and waits until a stream has it.

    The header Nats-Msg-Id is the event's id: the stream itself drops what comes twice within its duplicate window.
    """

    name = "nats"

    _library: Any = None
    _connection: Any = None
    _stream: Any
    _trouble: "asyncio.Future[Exception]"

    def __init__(self, config: NatsConfig, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._subject = Template(config.subject, FIELDS, words)
        self._where = f"NATS at {where(config.url, 4222)}"

    async def start(self) -> None:
        """Connect and log in."""
        if self._library is None:
            try:
                self._library = importlib.import_module("nats")
                self._missing = importlib.import_module("nats.js.errors").NoStreamResponseError
            except ImportError:
                raise RuntimeError("the library nats-py is missing: pip install 'agentd[nats]'") from None
        await self._connect()

    async def stop(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._close(connection)

    async def send(self, events: Sequence[Record]) -> None:
        """Publish all, a number of them on their way at once, and read the stream's answer to each."""
        if self._connection is None or self._trouble.done():
            await self._connect()
        answers: list[asyncio.Future[Any]] = []
        # A task of its own: the library swallows a cancellation in places, and answers nobody whose connection is lost.
        publishing = asyncio.create_task(self._publish(events, answers))
        lost = True
        try:
            await asyncio.wait((publishing, self._trouble), return_when=asyncio.FIRST_COMPLETED)
            lost = not publishing.done() or publishing.exception() is not None
        finally:  # cancelled, perhaps
            publishing.cancel()
            for answer in answers:
                answer.cancel()
            if lost:
                await self.stop()
        outcomes = [None if each.done() and not each.cancelled() and not each.exception() else each for each in answers]
        failures = [index for index, answer in enumerate(outcomes) if answer is not None]
        if lost:
            error = self._trouble.result() if self._trouble.done() else publishing.exception()
            accepted = failures[0] if failures else len(answers)
            raise self._retry(error or ConnectionError("the connection is lost"), accepted) from error
        errors = {index: answers[index].exception() for index in failures}
        for index, problem in errors.items():
            if not isinstance(problem, TooLargeError) and getattr(problem, "err_code", None) not in REJECTED:
                raise self._retry(problem, failures[0], self._subject(events[index])) from problem
        if errors:
            reasons = sorted({REJECTED.get(getattr(each, "err_code", 0), str(each)) for each in errors.values()})
            raise Reject((events[index].id for index in errors), f"{self._where}: {', '.join(reasons)}")

    async def _publish(self, events: Sequence[Record], answers: "list[asyncio.Future[Any]]") -> None:
        stream, subject, window = self._stream, self._subject, self.config.in_flight
        largest = self._connection.max_payload
        for index, event in enumerate(events):
            if index >= window:
                await asyncio.wait((answers[index - window],))
            identity = id_of(event.json).id
            if len(event.json) + len(f"NATS/1.0\r\nNats-Msg-Id: {identity}\r\n\r\n".encode()) > largest:
                answers.append(asyncio.get_running_loop().create_future())
                answers[-1].set_exception(TooLargeError("larger than the server takes (max_payload)"))
            else:
                answers.append(
                    await stream.publish_async(subject(event), event.json, headers={"Nats-Msg-Id": identity})
                )
        if answers:
            await asyncio.wait(answers)

    async def _connect(self) -> None:
        await self.stop()
        if self._library is None:
            raise RuntimeError("it has not been started")
        config, trouble = self.config, asyncio.get_running_loop().create_future()
        connection = self._library.NATS()

        async def complain(error: Exception) -> None:
            if not trouble.done():
                trouble.set_result(error)

        async def closed() -> None:
            await complain(connection.last_error or ConnectionError("the connection is lost"))

        if config.credentials_file and not os.access(config.credentials_file, os.R_OK):
            raise ValueError(f"cannot read {config.credentials_file}")
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.connect(
                    str(config.url),
                    name=f"agentd {self.context.name}",
                    allow_reconnect=False,  # the next send does that: what the library has kept would come twice
                    connect_timeout=PATIENCE,
                    error_cb=complain,
                    closed_cb=closed,
                    user=config.user,
                    password=config.password and config.password.reveal(),
                    token=config.token and config.token.reveal(),
                    user_credentials=config.credentials_file,
                    tls=tls(config) if config.url.startswith("tls:") else None,
                )
        except ImportError:
            raise RuntimeError("credentials_file needs the library nkeys: pip install nkeys") from None
        except TimeoutError:
            await self._close(connection)
            raise Retry(f"{self._where} does not answer") from None
        except (self._library.errors.Error, OSError) as error:
            await self._close(connection)
            raise self._retry(error) from error
        except BaseException:
            await self._close(connection)
            raise
        self._connection, self._trouble = connection, trouble
        self._stream = connection.jetstream(**({"domain": config.domain} if config.domain else {}))

    async def _close(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(1):
                await connection.close()
        except (TimeoutError, OSError, self._library.errors.Error) as error:
            self.log.debug("the connection did not end well: %s", error)

    def _retry(self, error: BaseException | None, accepted: int = 0, subject: str = "") -> Retry:
        if isinstance(error, self._missing):
            why = f"no stream takes the subject {subject}: make one (nats stream add), with JetStream switched on (-js)"
        elif isinstance(error, self._library.errors.AuthorizationError):
            why = "not authorized: check user and password, token or credentials_file"
        else:
            why = str(error).removeprefix("nats: ") or type(error).__name__
        return Retry(f"{self._where}: {why}", accepted=accepted)


def words(text: str) -> str:
    """Return a text as it may stand in a subject: words with dots between them."""
    return ".".join(word or "_" for word in re.sub(r"[\s*>$\0]", "_", text).split("."))


@hookimpl
def agentd_sinks() -> list[type[Nats]]:
    """Register the sink."""
    return [Nats]

"""Publishes events to a stream of NATS JetStream."""

import asyncio
import importlib
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from agentd.plugin import Context, Record, Reject, Retry, Secret, Sink, Url, hookimpl
from agentd_plugins.sinks._server import Refusal, ServerConfig, Template, check_server, in_words, tls, where

if TYPE_CHECKING:
    from agentd_plugins.sinks._nats import Client

PATIENCE = 10
"""Seconds that connecting may take, the log-in included."""

FIELDS = ("type", "source", "target")

REJECTED = {10054: "larger than the stream takes", -1: "larger than the server takes"}
"""Error codes of JetStream after which it makes no sense to try again; -1 is the sink's own."""

MISSING = "no stream takes the subject {}: make one (nats stream add); the server must have JetStream switched on (-js)"


LOST, TOO_LARGE = Refusal(0, "the connection is lost"), Refusal(-1, "")


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


class Nats(Sink[NatsConfig]):
    """Publishes each event, the whole of it as JSON, and waits until a stream has it.

    The header Nats-Msg-Id is the event's id: the stream itself drops what comes twice within its duplicate window.
    """

    name = "nats"
    extra = "nats"

    _library: Any = None
    _client: "Client | None" = None

    def __init__(self, config: NatsConfig, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._subject = Template(config.subject, FIELDS, words)
        self._where = f"NATS at {where(config.url, 4222)}"

    async def start(self) -> None:
        """Connect and log in."""
        if self._library is None:
            try:
                self._library = importlib.import_module("nats")
            except ImportError:
                raise RuntimeError("the library nats-py is missing: pip install 'agentd[nats]'") from None
        await self._connect()

    async def probe(self) -> str:
        """Connect and log in. Names of connections, unlike MQTT's, need not be unique."""
        await self.start()
        return f"{self._where} lets the agent in"

    async def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            client, self._client = self._client, None
            await self._close(client)

    async def send(self, events: Sequence[Record]) -> None:
        """Publish all, a number of them on their way at once, and read the stream's answer to each."""
        client = self._client
        if client is None or client.trouble.done():
            client = await self._connect()
        answers: list[asyncio.Future[Refusal | None]] = []
        # A task of its own: the library swallows cancellations, and does not end what waits on a lost connection.
        publishing = asyncio.create_task(self._publish(client, events, answers))
        publishing.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may ask for it below
        well = False
        try:
            await asyncio.wait((publishing, client.trouble), return_when=asyncio.FIRST_COMPLETED)
            well = publishing.done() and publishing.exception() is None
        finally:
            if not well:  # cancelled, perhaps
                publishing.cancel()
                await self.stop()
        results = [answer.result() if answer.done() else LOST for answer in answers]
        accepted = next((index for index, result in enumerate(results) if result is not None), len(results))
        if not well:
            error = client.trouble.result() if client.trouble.done() else publishing.exception()
            raise self._retry(error, accepted) from error
        refused = [(event, result) for event, result in zip(events, results, strict=True) if result is not None]
        for event, refusal in refused:
            if refusal.code not in REJECTED:
                why = self.harmless(refusal.why) or MISSING.format(self._subject(event))
                raise Retry(f"{self._where}: {why}", accepted=accepted)
        if refused:
            reasons = ", ".join(sorted({REJECTED[refusal.code] for _, refusal in refused}))
            raise Reject((event.id for event, _ in refused), f"{self._where}: {reasons}")

    async def _publish(
        self, client: "Client", events: Sequence[Record], answers: "list[asyncio.Future[Refusal | None]]"
    ) -> None:
        subject, window, largest = self._subject, self.config.in_flight, client.max_payload
        for index, event in enumerate(events):
            if index >= window and not answers[index - window].done():
                await asyncio.wait((answers[index - window],))
            identity = id_of(event.json).id
            # The header counts: NATS/1.0, Nats-Msg-Id: ID, and an empty line.
            if len(event.json) + 27 + len(identity.encode()) > largest:
                answers.append(asyncio.get_running_loop().create_future())
                answers[-1].set_result(TOO_LARGE)
            else:
                answers.append(await client.put(subject(event), event.json, identity))
        if answers:
            await asyncio.wait(answers)

    async def _connect(self) -> "Client":
        await self.stop()
        config = self.config
        if self._library is None:
            raise RuntimeError("it has not been started")
        if config.credentials_file and not os.access(config.credentials_file, os.R_OK):
            raise ValueError(f"cannot read {config.credentials_file}")
        from agentd_plugins.sinks._nats import Client

        secure = config.url.startswith("tls:")
        client = Client(secure=secure)
        try:
            async with asyncio.timeout(PATIENCE):
                await client.open(
                    servers=str(config.url),
                    name=f"agentd {self.context.name}",
                    connect_timeout=PATIENCE,
                    user=config.user,
                    password=config.password and config.password.reveal(),
                    token=config.token and config.token.reveal(),
                    user_credentials=config.credentials_file,
                    tls=tls(config) if secure else None,
                )
        except BaseException as error:
            await self._close(client)
            if isinstance(error, TimeoutError):
                raise Retry(f"{self._where} does not answer") from None
            if isinstance(error, ImportError):
                raise RuntimeError("credentials_file needs the library nkeys: pip install nkeys") from None
            if isinstance(error, (self._library.errors.Error, OSError)):
                raise self._retry(error) from error
            raise
        self._client = client
        return client

    async def _close(self, client: "Client") -> None:
        try:
            async with asyncio.timeout(1):
                await client.close()
        except (TimeoutError, OSError, self._library.errors.Error) as error:
            self.log.debug("the connection did not end well: %s", error)

    def _retry(self, error: BaseException | None, accepted: int = 0) -> Retry:
        said = in_words(error) if isinstance(error, OSError) else error
        why = self.harmless(said).removeprefix("nats: ").strip("'") or type(error).__name__
        if "authorization" in why.lower():
            why = "not authorized: check user and password, token or credentials_file"
        return Retry(f"{self._where}: {why}", accepted=accepted)


def words(text: str) -> str:
    """Return a text as it may stand in a subject: words with dots between them."""
    return ".".join(word or "_" for word in re.sub(r"[\s*>$\0]", "_", text).split("."))


@hookimpl
def agentd_sinks() -> list[type[Nats]]:
    """Register the sink."""
    return [Nats]

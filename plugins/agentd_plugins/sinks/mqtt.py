"""Publishes events to topics of an MQTT broker."""

import asyncio
import importlib
import logging
import os
import secrets
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from agentd.plugin import Context, Duration, Record, Reject, Retry, Sink, Size, Url, hookimpl
from agentd_plugins.sinks._server import ServerConfig, Template, check_server, in_order, in_words, tls, where

if TYPE_CHECKING:
    from agentd_plugins.sinks._mqtt import Client

PATIENCE = 10.0
"""Seconds that connecting may take, the log-in included."""

FIELDS = ("type", "type/", "source", "source/", "target", "target/")

REFUSED = {0x90: "the topic is not allowed", 0x95: "too large for the broker", 0x99: "the payload is not allowed"}
"""Reason codes (MQTT 5, section 2.4) after which it makes no sense to try again."""

ADVICE = {
    0x82: "the connection broke over a message: where events are too large for the broker, set max_packet",
    0x84: 'the broker does not speak this version: set protocol = "3.1.1"',
    0x85: "the broker does not take the client's name: set client_id",
    0x86: "user or password is wrong",
    0x87: "not authorized: check user and password, and what the broker lets this user publish",
    0x8A: "the broker has banned this client",
    0x8E: "another client has come with the same name: give each agent a client_id of its own",
    0x97: "a quota of the broker is used up",
}
"""What to say of others."""


class MqttConfig(ServerConfig):
    """Options of the MQTT sink."""

    url: Annotated[Url, Meta(examples=["mqtt://localhost:1883"])]
    """The broker: mqtt://HOST:PORT, or mqtts:// with TLS. The port may be left out (1883, 8883)."""
    topic: str = "brain/events/{type/}"
    """The topic. {type}, {source} and {target} stand for those of the event ("-" where it has none), {type/} and so on
    for the same with slashes in the place of dots. Of what MQTT gives a meaning, each becomes an underscore."""
    qos: Literal[0, 1, 2] = 1
    """The quality of service: with 0 nobody acknowledges, and what is on its way when a connection breaks is lost. With
    2 it goes unnoticed where the broker refuses a message."""
    retain: bool = False
    """Whether the broker keeps the last event of each topic for those who subscribe later."""
    client_id: str | None = None
    """The client's name, which no other may have; left out, it is made of the host's name and the section's."""
    keepalive: Duration = Duration(60)
    """How long a connection may be silent before the broker is asked whether it is still there."""
    protocol: Literal["5", "3.1.1"] = "5"
    """The version of MQTT. With 3.1.1 it goes unnoticed where the broker refuses a message."""
    in_flight: Annotated[int, Meta(ge=1, le=65535)] = 20
    """How many events may wait for an acknowledgement; fewer where the broker says so. Many brokers take 20."""
    max_packet: Size | None = None
    """The largest message that the broker takes, its topic included: larger events are set aside. Left out, what a
    broker of version 5 says of itself counts."""

    def __post_init__(self) -> None:
        wrong = check_server(self, {"mqtt": False, "mqtts": True})
        if not 1 <= self.keepalive <= 65535:
            wrong.append("keepalive must be from 1s to 65535s")
        if self.client_id is not None and not self.client_id:
            wrong.append("client_id must not be empty")
        if self.password is not None and self.user is None and self.protocol == "3.1.1":
            wrong.append("password needs user")
        try:
            Template(self.topic, FIELDS)
        except ValueError as error:
            wrong.append(f"topic: {error}")
        if not self.topic or self.topic.startswith("$") or set(self.topic) & set("+#\0"):
            wrong.append("topic: expected one without + and #, and not beginning with $")
        if wrong:
            raise ValueError("; ".join(wrong))


class Mqtt(Sink[MqttConfig]):
    """Publishes each event, the whole of it as JSON, and waits until the broker has acknowledged it."""

    name = "mqtt"
    extra = "mqtt"

    _library: ModuleType | None = None
    _client: "Client | None" = None

    def __init__(self, config: MqttConfig, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._topic = Template(config.topic, FIELDS, level)
        self._port = urlsplit(config.url).port or (8883 if config.url.startswith("mqtts:") else 1883)
        self._where = f"the MQTT broker at {where(config.url, self._port)}"

    async def start(self) -> None:
        """Connect and log in."""
        self._load()
        await self._connect()

    async def probe(self) -> str:
        """Connect and log in, under a name that no client has: the broker would disconnect it."""
        self._load()
        await self._connect(f"agentd-probe-{secrets.token_hex(4)}")
        return f"{self._where} lets the agent in"

    async def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def send(self, events: Sequence[Record]) -> None:
        """Publish all, a number of them on their way at once."""
        client = self._client
        if client is None or client.lost:
            client = await self._connect()
        put = partial(self._put, client)
        try:
            answers = await in_order(put, events, min(self.config.in_flight, client.receive_maximum))
        except BaseException:  # cancelled: what is on its way would be in the way of the next batch
            await self.stop()
            raise
        refused: dict[int, str] = {}
        for index, answer in enumerate(answers):
            if isinstance(answer, Exception):
                await self.stop()
                raise self._retry(answer, min(refused, default=index)) from answer
            if answer in REFUSED:
                refused[index] = REFUSED[answer]
            elif answer != 0:
                why = ADVICE.get(answer, f"refused with reason code {answer:#04x}")
                text = f"{self._where}, topic {self._topic(events[index])}: {why}"
                raise Retry(text, accepted=min(refused, default=index))
        if refused:
            reasons = ", ".join(sorted(set(refused.values())))
            raise Reject((events[index].id for index in refused), f"{self._where}: {reasons}")

    def _put(self, client: "Client", event: Record) -> "asyncio.Future[int]":
        return client.put(self._topic(event), event.json, self.config.qos, retain=self.config.retain)

    def _load(self) -> None:
        if self._library is None:
            try:
                self._library = importlib.import_module("aiomqtt")
            except ImportError:
                raise RuntimeError("the library aiomqtt is missing: pip install 'agentd[mqtt]'") from None

    async def _connect(self, identifier: str | None = None) -> "Client":
        await self.stop()
        if self._library is None:
            raise RuntimeError("it has not been started")
        from agentd_plugins.sinks._mqtt import Client

        config, five = self.config, self.config.protocol == "5"
        name = self.context.name.removeprefix("sinks.")
        quiet = self.log.getChild("library")
        quiet.setLevel(logging.CRITICAL)  # what goes wrong is told by what this sink raises
        client = Client(
            hostname=urlsplit(config.url).hostname or "localhost",
            port=self._port,
            username=config.user if config.user is not None or config.password is None else "",
            password=config.password.reveal() if config.password is not None else None,
            identifier=identifier or config.client_id or f"agentd-{os.uname().nodename}-{name}",
            protocol=self._library.ProtocolVersion.V5 if five else self._library.ProtocolVersion.V311,
            # The journal is the session: what was not acknowledged is sent again from there. A session that the
            # broker kept would have numbers of messages that this connection gives to others: QoS 2 would drop those.
            clean_session=None if five else True,
            keepalive=int(config.keepalive),
            tls_context=tls(config) if config.url.startswith("mqtts:") else None,
            largest=config.max_packet,
            timeout=PATIENCE,
            logger=quiet,
        )
        try:
            await client.open()
        except (self._library.MqttError, OSError) as error:
            raise self._retry(error) from error
        self._client = client
        return client

    def _retry(self, error: Exception, accepted: int = 0) -> Retry:
        code = getattr(error, "rc", None)
        why = (ADVICE | {0x80: "the connection is lost"}).get(getattr(code, "value", -1), error)
        refused = error if isinstance(error, OSError) else error.__cause__ or error.__context__
        if why is error and isinstance(refused, OSError):
            why = in_words(refused)
        return Retry(f"{self._where}: {self.harmless(why)}", accepted=accepted)


MEANINGFUL = str.maketrans(dict.fromkeys("+#/$\0", "_"))


def level(text: str) -> str:
    """Return a text as it may stand in one level of a topic."""
    return text.translate(MEANINGFUL)


@hookimpl
def agentd_sinks() -> list[type[Mqtt]]:
    """Register the sink."""
    return [Mqtt]

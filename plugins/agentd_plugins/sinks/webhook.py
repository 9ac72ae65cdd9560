"""Posts events to a URL, as CloudEvents (the HTTP binding's batched mode) or as JSON; signed where that is wanted."""

import asyncio
import gzip
import hashlib
import hmac
import re
import ssl
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta

from agentd.plugin import Config, Context, Record, Reject, Retry, Secret, Sink, Url, cloud_event, hookimpl
from agentd_plugins.sinks._http import CONNECT, cause, connecting, excerpt, retry_after, tls

CONTENT_TYPES = {"cloudevents": "application/cloudevents-batch+json", "json": "application/json"}
LATER = frozenset((408, 425, 429))
"""Statuses by which a receiver asks for the same again, as those from 500 on do."""
OURS = frozenset((401, 403, 404, 405, 406, 407, 410, 411, 414, 415, 421, 426, 431))
"""Statuses that speak of the URL, the token or the headers: no event is to blame, and each would be refused."""
MOST = 1000
"""Events that a batch may have."""


class WebhookConfig(Config):
    """Options of the sink webhook."""

    url: Annotated[Url, Meta(examples=["https://receiver.example/events"])]
    """Where events are posted to. A password belongs into token or headers instead."""
    format: Literal["cloudevents", "json"] = "cloudevents"
    """What a batch becomes: an array of CloudEvents 1.0 (application/cloudevents-batch+json), or an array of the events
    as agentd has them (application/json)."""
    headers: dict[str, Secret] = {}
    """Further headers of each request, { X-Api-Key = { file = "/run/credentials/agentd.service/key" } } say. They are
    never shown."""
    token: Secret | None = None
    """Sent as "Authorization: Bearer TOKEN"."""
    hmac_secret: Secret | None = None
    """Signs each request. The header X-Agentd-Timestamp has the seconds since 1970, and X-Agentd-Signature has
    "sha256=" and the HMAC-SHA256, in hexadecimal digits, of that number, a dot and the body as it is sent. A receiver
    computes the same, compares, and refuses old timestamps."""
    gzip: bool = False
    """Whether the body is compressed (Content-Encoding: gzip)."""
    ca_file: Annotated[str, Meta(examples=["/etc/ssl/certs/example-ca.pem"])] | None = None
    """Certificates of the authorities to trust, in PEM; left out, those of the system."""
    cert_file: Annotated[str, Meta(examples=["/etc/agentd/client.pem"])] | None = None
    """The agent's own certificate, in PEM, for receivers that want one."""
    key_file: Annotated[str, Meta(examples=["/etc/agentd/client.key"])] | None = None
    """Its key, in PEM, without a passphrase; left out, it is in cert_file."""
    proxy: Annotated[Url, Meta(examples=["http://proxy.example:3128"])] | None = None
    """The HTTP proxy to go through, without a password."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} must begin with http:// or https://, and hold no user or password"
            for name, url in (("url", self.url), ("proxy", self.proxy))
            if url is not None and not _is_plain(url)
        ]
        wrong += [f"headers: {name[:40]!r} is no name of a header" for name in self.headers if not _is_token(name)]
        texts = {**{f"headers.{name}": text for name, text in self.headers.items()}, "token": self.token}
        wrong += [
            f"{name} has a character that no header may have"
            for name, text in texts.items()
            if text is not None and not (text.reveal().isascii() and text.reveal().isprintable())
        ]
        if any((self.ca_file, self.cert_file, self.key_file)) and not self.url.lower().startswith("https:"):
            wrong.append("ca_file, cert_file and key_file are for URLs that begin with https://")
        if self.key_file and not self.cert_file:
            wrong.append("key_file is the key of a cert_file, which is not set")
        if wrong:
            raise ValueError("; ".join(wrong))


def _is_plain(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _is_token(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is not None


class Webhook(Sink[WebhookConfig]):
    """Posts events to a URL, a batch at a time. A status from 200 to 299 says that all of the batch have arrived.

    408, 425, 429 and all from 500 on are tried again, after what Retry-After says. So are those that say that the
    configuration is wrong (401, 403, 404 …), and redirects: nothing is lost until somebody mends it. With any other
    status the batch is posted in smaller and smaller parts until the events are found that the receiver does not take.
    """

    name = "webhook"

    def __init__(self, config: WebhookConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._session: aiohttp.ClientSession | None = None
        self._renew = False
        self._settled: dict[int, str] = {}
        """The events of a batch that is not done of which the receiver has said something: "", or why it refuses."""
        self._size = MOST
        """Events that are posted at once: halved where the receiver does not take them, doubled where it does."""
        parts = urlsplit(self.config.url)
        self._host = f"{parts.scheme}://{parts.netloc}"  # the path may be a secret, too

    async def start(self) -> None:
        """Read the certificates. There is no connection before there are events."""
        await self._open()

    async def probe(self) -> str:
        """Connect to the host, with TLS where the URL says so, and post nothing. Of a proxy, to that alone."""
        parts = urlsplit(self.config.proxy or self.config.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        files = (self.config.ca_file, self.config.cert_file, self.config.key_file)
        context = await self.in_worker(tls, *files) if parts.scheme == "https" else None
        where = f"the proxy {host}:{port}" if self.config.proxy else self._host
        try:
            async with asyncio.timeout(CONNECT):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except OSError as error:  # a timeout is one, too
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else cause(error)
            raise ConnectionError(f"{where}: {why}") from None
        writer.close()
        what = "what lies behind it was not tried" if self.config.proxy else "nothing was posted"
        return f"{where} accepts connections; {what}"

    async def stop(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def reopen(self) -> None:
        """Make the next connection anew, with certificates that are read again; a request under way goes on."""
        self._renew = True

    async def send(self, events: Sequence[Record]) -> None:
        """Post events. What has arrived of a batch is remembered until all of it is settled: a search for those
        that are refused goes on where it was interrupted, and posts nothing twice.
        """
        self._settled = {event.seq: self._settled[event.seq] for event in events if event.seq in self._settled}
        try:
            while rest := [event for event in events if event.seq not in self._settled]:
                await self._deliver(rest[: self._size])
        except Retry as retry:
            arrived = [self._settled.get(event.seq) == "" for event in events]
            accepted = arrived.index(False)  # there is one: whoever says "later" has not said "yes" to all
            raise Retry(str(retry), after=retry.after, accepted=accepted) from None
        settled, self._settled = self._settled, {}
        refused = [event for event in events if settled[event.seq]]
        if refused:
            raise Reject((event.id for event in refused), settled[refused[0].seq])

    async def _deliver(self, events: list[Record]) -> None:
        status, text, after = await self._post(events)
        if 200 <= status < 300:
            self._settled |= dict.fromkeys((event.seq for event in events), "")
            self._size = min(2 * self._size, MOST)
        elif status < 400:
            raise Retry(f"{text}; redirects are not followed: configure the new URL", after=after)
        elif status >= 500 or status in LATER:
            raise Retry(text, after=after)
        elif status in OURS:
            raise Retry(f"{text}; the URL, the token or the headers are wrong", after=after)
        elif len(events) == 1:
            self._settled[events[0].seq] = text
        else:
            self._size = len(events) // 2

    async def _post(self, events: Sequence[Record]) -> tuple[int, str, float | None]:
        """Return the status of the answer, what to say of it, and for how long it asks to wait."""
        body = await self.in_worker(self._body, events)
        session = await self._open()
        try:
            async with session.post(
                self.config.url, data=body, headers=self._headers(body), proxy=self.config.proxy, allow_redirects=False
            ) as response:
                text = self._harmless(f"{response.reason or ''}: {(await excerpt(response)).decode(errors='replace')}")
                after = retry_after(response.headers.get("Retry-After", ""), self.clock.time())
                return response.status, f"{self._host} answered {response.status} {text}", after
        except (aiohttp.ClientError, OSError) as error:
            await self.stop()  # the next connection is made with certificates that are read anew
            raise Retry(f"{self._host}: {self._harmless(cause(error))}") from None  # its text may have the whole URL

    def _body(self, events: Sequence[Record]) -> bytes:
        if self.config.format == "json":
            body = b"[" + b",".join(event.json for event in events) + b"]"
        else:
            body = msgspec.json.encode([cloud_event(event.event) for event in events])
        return gzip.compress(body, 6) if self.config.gzip else body

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": CONTENT_TYPES[self.config.format], "User-Agent": "agentd"}
        headers |= {"Accept-Encoding": "identity"}  # what is read of an answer is cut off somewhere
        if self.config.gzip:
            headers["Content-Encoding"] = "gzip"
        if self.config.token is not None:
            headers["Authorization"] = f"Bearer {self.config.token.reveal()}"
        if self.config.hmac_secret is not None:
            timestamp = str(int(self.clock.time()))
            signature = sign(self.config.hmac_secret.reveal(), timestamp, body)
            headers |= {"X-Agentd-Timestamp": timestamp, "X-Agentd-Signature": signature}
        given = {name.lower() for name in self.config.headers}
        headers = {name: text for name, text in headers.items() if name.lower() not in given}
        return headers | {name: text.reveal() for name, text in self.config.headers.items()}

    def _harmless(self, text: str) -> str:
        """Return some words of the receiver on one line, without the secrets that it may repeat."""
        text = "".join(letter if letter.isprintable() else " " for letter in self.harmless(text))
        return " ".join(text.split()).strip(": ")[:200]

    async def _open(self) -> aiohttp.ClientSession:
        if self._renew:
            self._renew = False
            await self.stop()
        if self._session is None:
            files = (self.config.ca_file, self.config.cert_file, self.config.key_file)
            encrypted = self.config.url.lower().startswith("https:")
            context = await self.in_worker(tls, *files) if encrypted else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, ssl=context, socket_factory=connecting),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),  # the agent sees to the rest
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request."""
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


@hookimpl
def agentd_sinks() -> list[type[Any]]:
    """Register the sink."""
    return [Webhook]

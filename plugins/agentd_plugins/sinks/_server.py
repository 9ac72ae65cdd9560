"""What sinks that connect to a server have in common: options, TLS, and names made from events."""

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import urlsplit

from msgspec import Meta

from agentd.plugin import Config, Record, Secret, Url

Answer = TypeVar("Answer")


class ServerConfig(Config):
    """Options by which a sink finds its server, and shows who it is."""

    url: Url
    """Where the server is."""
    user: str | None = None
    """The name to log in with."""
    password: Secret | None = None
    """The password to log in with."""
    ca_file: Annotated[str, Meta(examples=["/etc/ssl/certs/fleet-ca.pem"])] | None = None
    """A file with the certificates (PEM) that may sign the server's own; left out, those that this system trusts."""
    cert_file: Annotated[str, Meta(examples=["/etc/agentd/client.pem"])] | None = None
    """A file with the certificate (PEM) that shows the server who this is, where it asks for one."""
    key_file: Annotated[str, Meta(examples=["/etc/agentd/client.key"])] | None = None
    """The private key of ``cert_file`` (PEM); left out, it is in the same file."""


def check_server(config: ServerConfig, schemes: Mapping[str, bool], query: str = "") -> list[str]:
    """Return what is wrong with a server's address and with the files of TLS.

    ``schemes`` says which of them are TLS, ``query`` is a pattern of what may stand behind a question mark. No answer
    repeats the address: it may hold a password by mistake.
    """
    parts, wrong = urlsplit(config.url), []
    if parts.scheme not in schemes:
        listed = ", ".join(f"{scheme}://" for scheme in schemes)
        wrong.append(f'url: expected one of {listed}; found "{parts.scheme}://"')
    elif not schemes[parts.scheme] and (config.ca_file or config.cert_file or config.key_file):
        encrypted = " or ".join(f"{scheme}://" for scheme, tls in schemes.items() if tls)
        wrong.append(f"ca_file, cert_file and key_file need a url that begins with {encrypted}")
    if parts.username is not None or parts.password is not None:
        wrong.append("url: expected no user and no password in it; there are the options user and password")
    if parts.query and not re.fullmatch(query, parts.query):
        wrong.append("url: expected nothing behind a question mark" + (f" but {query}" if query else ""))
    if config.key_file and not config.cert_file:
        wrong.append("key_file needs cert_file")
    return wrong


def where(url: Url, port: int) -> str:
    """Return a server's address for people: ``host:port``, or a path."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or port}" if parts.hostname else parts.path


def in_words(error: OSError) -> str:
    """Return what the system says of an error. Texts of asyncio and of libraries have numbers and addresses in them."""
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):  # that counts in its own way
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return a client's context that trusts an authority of one's own, or else those of the system.

    Raises ``OSError`` where the file cannot be read or holds no certificates.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file:
        # Python 3.13 began to refuse authorities whose certificate does not say what its key is for: what
        # `openssl req -x509` makes. Whoever names the file trusts it, and an upgrade must not hold their events up.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def tls(config: ServerConfig) -> ssl.SSLContext:
    """Return what TLS needs. Raises ``ValueError`` that names the file where one cannot be used."""
    for path in (config.ca_file, config.cert_file, config.key_file):
        if path and not os.access(path, os.R_OK):
            raise ValueError(f"cannot read {path}")
    try:
        context = trusting(config.ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"ca_file {config.ca_file} holds no certificates: {error.reason or error}") from None
    if config.cert_file:
        try:
            context.load_cert_chain(config.cert_file, config.key_file, password=_no_passphrase)
        except ssl.SSLError as error:
            raise ValueError(f"cert_file {config.cert_file} and its key do not fit: {error.reason or error}") from None
        except ValueError:
            raise ValueError(f"the key of {config.cert_file} must not need a passphrase") from None
    return context


def _no_passphrase() -> str:
    raise ValueError  # without this, OpenSSL would ask at the terminal


class Refusal(NamedTuple):
    """Why a server did not take a message."""

    code: int
    """Its own number for that."""
    why: str


async def in_order(
    put: Callable[[Record], "asyncio.Future[Answer]"], events: Sequence[Record], window: int
) -> list[Answer | Exception]:
    """Put events one after the other, at most ``window`` of them without an answer; return the answers or errors."""
    futures: list[asyncio.Future[Answer]] = []
    try:
        for index, event in enumerate(events):
            if index >= window and not futures[index - window].done():
                await asyncio.wait(futures[index - window : index - window + 1])
            futures.append(put(event))
        if futures:
            await asyncio.wait(futures)
    finally:
        for future in futures:
            future.cancel()  # where this was cancelled; answers that are there stay
    return [error if isinstance(error := each.exception(), Exception) else each.result() for each in futures]


class Template:
    """Makes names from events: a text with ``{type}``, ``{source}`` and ``{target}`` in it, as far as they are allowed.

    ``{type/}`` is the same with slashes in the place of dots, where that is allowed.
    """

    def __init__(self, text: str, allowed: tuple[str, ...], clean: Callable[[str], str] = str) -> None:
        """``clean`` makes of what an event says something that a name may hold. Raises ``ValueError``."""
        self._text = text
        self._clean = clean
        try:
            fields = {(name, form, bang) for _, name, form, bang in Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; write {{{{ and }}}} for braces themselves") from None
        for name, form, bang in fields:
            if name not in allowed or form or bang:
                listed = ", ".join(f"{{{each}}}" for each in allowed)
                raise ValueError(f'expected a name in which {listed} may stand; found "{text}"')
        self._names = tuple(name for name, _, _ in fields)
        self._of_target = any(name.startswith("target") for name in self._names)
        self._named = lru_cache(1024)(self._name)  # most events have the name of another before

    def __call__(self, record: Record) -> str:
        """Return the name for this event."""
        return self._named(record.type, record.source, record.event.target if self._of_target else None)

    def _name(self, type: str, source: str, target: str | None) -> str:
        names = {"type": type, "source": source, "target": target}
        said = {name: self._clean(text or "-") for name, text in names.items()}
        return self._text.format_map(said | {f"{name}/": text.replace(".", "/") for name, text in said.items()})

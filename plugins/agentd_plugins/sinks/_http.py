"""What sinks share that speak HTTP: certificates, and what to make of answers and of errors."""

import asyncio
import contextlib
import re
import socket
import ssl
from email.utils import parsedate_to_datetime

import aiohttp

from agentd_plugins.sinks._server import in_words, trusting

CONNECT = 10.0
"""Seconds until a host that does not even accept a connection is given up."""
EXCERPT = 2048
"""Bytes of an answer that are read: an error's text. That takes ``PATIENCE`` seconds at most."""
PATIENCE = 2.0
RECEIVED = 16 << 10
"""Bytes that the kernel holds of what a receiver sends. More may be thousands of answers ("100 Continue"), which are
looked at in one go."""
LONGEST_WAIT = 3600.0
"""Seconds that a receiver may ask for with Retry-After."""


def tls(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    """Return what to trust and what to show. Raises ``ValueError`` that names the file."""
    name = ca_file
    try:
        context = trusting(ca_file)
        if cert_file:
            name = " or ".join(filter(None, (cert_file, key_file)))
            context.load_cert_chain(cert_file, key_file, "")  # or OpenSSL asks for a passphrase
    except OSError as error:
        raise ValueError(f"cannot use {name}: {error.strerror or error}") from None
    return context


def connecting(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for a connection to a receiver."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    return made


async def excerpt(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of an answer's body. The status counts, whatever becomes of the rest."""
    data = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(PATIENCE):
            while len(data) < EXCERPT and (part := await response.content.read(EXCERPT - len(data))):
                data += part
    return data


def cause(error: Exception) -> str:
    """Return why there was no answer. The texts of some errors have the URL with its query: those are not used."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"its answer is no HTTP: {error.message.splitlines()[0] if error.message else ''}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection instead of answering"
    if isinstance(error, TimeoutError):
        return f"no connection within {CONNECT:g} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return in_words(error.os_error)
    return in_words(error) if isinstance(error, OSError) and error.errno else type(error).__name__


def retry_after(header: str, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, a number or a date (RFC 9110, 10.2.3); None where it does not."""
    if re.fullmatch("[0-9]{1,10}", header.strip()):
        seconds = float(header)
    else:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(seconds, LONGEST_WAIT) if seconds > 0 else None

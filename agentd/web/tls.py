"""Certificates: read, watched, and replaced while connections go on. The key goes to OpenSSL and nowhere else."""

import logging
import os
import re
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, NamedTuple

from agentd.config import CIPHER_SUITES, Tls
from agentd.errors import text_of
from agentd.metrics.family import counter, gauge
from agentd.metrics.frame import EMPTY, Frame, Layout

log = logging.getLogger(__name__)

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFYING = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}
_REASONS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "PEM_LIB": "there is no certificate or no key in PEM where one should be",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in PEM",
    "EE_KEY_TOO_SMALL": "the key is too short to be safe",
    "CA_MD_TOO_WEAK": "the certificate is signed in a way that is not safe any more",
}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

BUFFER = 8 << 10
"""Bytes of the buffer into which asyncio reads of each TLS connection. Its own would have 256 KiB, four times what a
connected robot takes in all."""


class TlsError(Exception):
    """Certificates cannot be used; the text names the files, and has nothing of what is in them."""


class Loaded(NamedTuple):
    """Certificates that were read."""

    settings: Tls
    context: ssl.SSLContext
    expires: float
    """When the certificate ends, in seconds since 1970."""
    stamp: object


class Certificates:
    """What TLS is spoken with: the certificates of the configuration as they were when they could last be used."""

    expires = gauge("agentd_tls_certificate_expiry_timestamp_seconds", "When the web server's certificate ends.")
    failures = counter("agentd_tls_reload_failures_total", "Times that changed certificates could not be used.")
    successful = gauge(
        "agentd_tls_last_reload_successful",
        "Whether the certificates could be used when they were last read (1), or those before still count (0).",
    )
    failed_handshakes = counter(
        "agentd_tls_handshake_failures_total", "Connections that ended, or were ended, before their TLS handshake."
    )

    def __init__(self) -> None:
        self.loaded: Loaded | None = None
        """What new connections get; None where no TLS is spoken."""
        self.error = ""
        """Why the files could not be used when they were last read; empty where they could."""
        self.handshakes_failed = 0
        self._failures = 0
        metrics = (self.expires, self.failures, self.successful, self.failed_handshakes)
        self._layout = Layout(metric(0.0) for metric in metrics)

    def take(self, loaded: Loaded | None) -> None:
        """Use certificates from the next connection on."""
        if loaded is not None:
            SSLProtocol.max_size = BUFFER  # asyncio has no other way to say so
        self.loaded, self.error = loaded, ""

    def look(self) -> None:
        """Read the files where one has changed. What cannot be used leaves what there was; it is logged once.

        To be called in a thread: it waits for the disk.
        """
        before = self.loaded
        if before is None or (stamp := _stamp(before.settings)) == before.stamp:
            return
        try:
            loaded = load(before.settings)
        except TlsError as error:
            self._failures += 1
            if str(error) != self.error:
                log.error("cannot use the certificates, those before are shown still: %s", error)
            self.error = str(error)
            loaded = before._replace(stamp=stamp)
        else:
            log.info("certificate read from %s", before.settings.cert_file)
            self.error = ""
        if self.loaded is before:  # and not others, by a reload in the meantime
            self.loaded = loaded

    def families(self) -> Frame:
        """Return what is told about them; nothing where there are none."""
        if self.loaded is None:
            return EMPTY
        values = (self.loaded.expires, self._failures, not self.error, self.handshakes_failed)
        return self._layout.fill([*map(float, values)])


def load(settings: Tls) -> Loaded:
    """Read certificates and key. Waits for the disk. Raises ``TlsError`` with what is wrong, and in which file."""
    stamp = _stamp(settings)
    for file in _files(settings):
        try:
            with open(file, "rb") as stream:
                stream.read(1)
        except OSError as error:
            raise TlsError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(":".join(CIPHER_SUITES[name] for name in settings.cipher_suites or CIPHER_SUITES))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, _no_passphrase)
    except (OSError, ValueError) as error:
        raise TlsError(f"{settings.cert_file} with {settings.key_file}: {_reason(error)}") from None
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (OSError, ValueError) as error:
            raise TlsError(f"{settings.client_ca_file}: {_reason(error)}") from None
        context.verify_mode = _VERIFYING[settings.client_auth_type]
    with open(settings.cert_file, "rb") as stream:
        return Loaded(settings, context, not_after(stream.read()), stamp)


def is_allowed(certificate: Mapping[str, Any] | None, names: Collection[str]) -> bool:
    """Say whether a client's certificate, verified and as ``getpeercert`` has it, has one of these names.

    Without names any will do, and without a certificate there is nothing to look at: whether one has to be shown is
    decided before.
    """
    if not names or not certificate:
        return True
    held = {_plain(value) for _, value in certificate.get("subjectAltName", ())}
    return not held.isdisjoint(map(_plain, names))


def not_after(pem: bytes) -> float:
    """Return when the first certificate ends, in seconds since 1970 (RFC 5280, 4.1.2.5). Raises ``TlsError``."""
    try:
        match = _PEM.search(pem)
        der = ssl.PEM_cert_to_DER_cert(match[0].decode() if match else "")
        _, start, _ = _element(der, 0)  # the certificate
        _, at, _ = _element(der, start)  # what of it is signed
        tag, _, end = _element(der, at)
        if tag == 0xA0:  # its version, which need not be there; then number, algorithm, issuer, validity
            at = end
        for _ in range(3):
            _, _, at = _element(der, at)
        _, at, _ = _element(der, at)
        _, _, at = _element(der, at)  # not before
        tag, start, end = _element(der, at)
        text = der[start:end].decode("ascii")
        if tag == 0x17:  # UTCTime has two digits of a year, from 1950 to 2049
            text = ("19" if text[:2] >= "50" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError):
        raise TlsError("the certificate does not say when it ends") from None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of what stands here, where its content begins, and where it ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size], "big"), start + size
    if start + length > len(der):
        raise ValueError("cut off")
    return der[at], start, start + length


def _plain(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()


def _files(settings: Tls) -> list[str]:
    files = (settings.cert_file, settings.key_file, settings.client_ca_file)
    return [file for file in files if file is not None]


def _stamp(settings: Tls) -> object:
    """Return what differs where a file has changed, or where a link leads to another."""
    found: list[object] = []
    for file in _files(settings):
        try:
            status = os.stat(file)
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_dev, status.st_ino))
    return tuple(found)


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which nobody is there to type in: store it without one")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        name = (error.reason or "PEM_LIB").upper().replace(" ", "_")
        return _REASONS.get(name, name.replace("_", " ").lower())
    return text_of(error)

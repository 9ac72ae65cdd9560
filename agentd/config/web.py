"""The section ``[web]``: where the web server listens, over what, and who may do what there."""

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Annotated, Literal

import msgspec

from agentd.config.problems import Problem, suggest
from agentd.config.source import Document
from agentd.config.spelling import found
from agentd.config.tokens import Token, doubles
from agentd.options import Config, Secret
from agentd.routes import Scope

CIPHER_SUITES: Mapping[str, str] = {
    f"TLS_ECDHE_{key}_WITH_{cipher}": f"ECDHE-{key}-{openssl}"
    for key in ("ECDSA", "RSA")
    for cipher, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
"""The suites of TLS 1.2 that are offered, by the names of IANA, and what OpenSSL calls them. Each has forward secrecy
and authenticated encryption."""

DEAREST = 16
"""The highest cost of a bcrypt hash: it takes seconds to check, and each further one twice as long."""

ClientAuthType = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]


class Tls(Config, frozen=True):
    """Certificates; the names of the options are those of Prometheus's exporter toolkit."""

    cert_file: str
    """The certificate in PEM, those of its issuers behind it. Read again when it changes."""
    key_file: str
    """Its private key in PEM, without a passphrase."""
    client_ca_file: str | None = None
    """Certificates in PEM of those who issue certificates to clients."""
    client_auth_type: ClientAuthType = "NoClientCert"
    """Whether clients have to show a certificate. One is only ever asked for to be verified: RequestClientCert and
    RequireAnyClientCert are refused."""
    client_allowed_sans: list[str] = []
    """Names (DNS names, addresses, URIs or e-mail addresses) of which a client's certificate has to have one; any,
    where the list is empty."""
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    """The oldest version of TLS that is spoken."""
    cipher_suites: list[str] = []
    """Suites of TLS 1.2 by the names of IANA; all that are strong, where the list is empty. Those of TLS 1.3 cannot be
    chosen."""


class BasicAuth(Config, frozen=True):
    """Who may do what by a name and a password."""

    users: dict[str, Secret] = {}
    """The bcrypt hash of each user's password, ``htpasswd -nBC 10 NAME`` makes one."""
    scopes: dict[str, list[Scope]] = {}
    """What a user may do; left out, ``["metrics:read"]``."""


class Listener(Config, frozen=True):
    """An address with what may be done there."""

    address: str
    """``HOST:PORT``, ``[IPv6]:PORT``, or ``:PORT`` for all of this machine's."""
    scopes: list[Scope] | None = None
    """What may be done here at most, whoever asks; left out, everything."""
    anonymous: list[Scope] | None = None
    """What may be done here without a credential."""
    tls: bool | None = None
    """Whether TLS is spoken; left out, where there is ``[web.tls]``."""


class WebSettings(Config, frozen=True):
    """The web server, on which Prometheus scrapes."""

    listen: list[str | Listener] = msgspec.field(default_factory=lambda: ["127.0.0.1:9797"])
    """Addresses to answer on: ``HOST:PORT``, ``[IPv6]:PORT``, or ``:PORT`` for all of this machine's. Port 0 takes a
    free one. In place of an address may stand a table with ``address``, ``scopes`` (what may be done there at most),
    ``anonymous`` (what may be done there without a credential) and ``tls`` (true or false)."""
    tls: Tls | None = None
    """Certificates, in a table ``[web.tls]`` with ``cert_file`` and ``key_file``; with it, TLS is spoken on all
    addresses that do not say ``tls = false``. Beside these it has ``client_ca_file``, ``client_auth_type``,
    ``client_allowed_sans``, ``min_version`` and ``cipher_suites``, as in Prometheus's exporter toolkit."""
    basic_auth: BasicAuth | None = None
    """Who may do what by a password: ``[web.basic_auth.users]`` with the bcrypt hash of each, and
    ``[web.basic_auth.scopes]`` with what they may do (``["metrics:read"]`` where they are left out). Where there are
    users, other machines read nothing without a credential, the metrics neither."""
    tokens: dict[str, Token] = {}
    """Who may do what by a token, a table for each: ``[web.tokens.NAME]`` with ``token`` (or ``sha256``), ``robots``,
    ``scopes`` and ``expires``."""
    tokens_file: str | None = None
    """A file with more of them, a table ``[NAME]`` for each, which is read again when it changes; ``agentd token``
    writes it."""
    route_prefix: str = ""
    """What all paths begin with, ``/agentd`` say; not those over the Unix socket."""
    trusted_proxies: list[str] = []
    """Networks (``10.1.2.0/24``) and addresses of proxies whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are
    believed. An address of them is never taken for this machine itself."""
    allowed_hosts: list[str] = []
    """Names, without ports, by which this machine may be asked for, beside ``localhost`` and addresses; any, where the
    list is empty. ``*.example.org`` stands for all names below."""
    cors_origins: list[str] = []
    """Origins whose pages may read answers with a credential of theirs, ``https://grafana.example.org`` say; none,
    where the list is empty."""
    max_connections: Annotated[int, msgspec.Meta(ge=16)] = 2048
    """Connections that may be open at once, beside WebSockets, whose number the plugin that takes them limits. Each
    takes some 10 KiB of memory, and up to 130 KiB where its client means ill. Where there are more, one that has not
    asked for anything, or else the one that is idle for longest, is closed for the next. The Unix socket is always
    answered."""

    def listeners(self) -> list[Listener]:
        """Return the addresses to listen on, each as a table."""
        return [Listener(address=each) if isinstance(each, str) else each for each in self.listen]


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of an address to listen on; the host is empty where all of the machine's are meant."""
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([A-Za-z0-9_.-]*)):([0-9]{1,5})", text)
    if match and int(match[3]) <= 65535:
        bracketed, plain, port = match.groups()
        if bracketed is None and not _like_ipv4(plain):
            return plain, int(port)
        family, host = (socket.AF_INET, plain) if bracketed is None else (socket.AF_INET6, bracketed)
        try:
            socket.inet_pton(family, host.split("%")[0])
        except (OSError, ValueError):
            pass
        else:
            return host, int(port)
    raise ValueError('expected HOST:PORT, [IPv6]:PORT or :PORT, such as "127.0.0.1:9797"')


def check(web: WebSettings, document: Document) -> Iterator[Problem]:
    """Yield what is wrong with the section beyond the types of its values."""
    for path, message in (*_listening(web), *_certificates(web.tls), *_users(web.basic_auth), *_others(web)):
        yield document.problem(("web", *path), message)
    yield from doubles(web.tokens, ("web", "tokens"), document)


_Wrong = tuple[tuple[str, ...], str]


def _listening(web: WebSettings) -> Iterator[_Wrong]:
    known: list[str] = []
    for index, listener in enumerate(web.listeners()):
        path = ("listen", str(index))
        try:
            if parse_address(listener.address)[1] and listener.address in known:
                raise ValueError("this address is there twice")
        except ValueError as error:
            yield path, f"{error}; found {found(listener.address)}"
        known.append(listener.address)
        if listener.tls and web.tls is None:
            yield path, "tls = true takes a certificate: [web.tls] with cert_file and key_file"


def _certificates(tls: Tls | None) -> Iterator[_Wrong]:
    if tls is None:
        return
    verifies = tls.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if tls.client_auth_type in ("RequestClientCert", "RequireAnyClientCert"):
        message = (
            f"{tls.client_auth_type} would take certificates that nobody verifies, which Python's TLS cannot: use "
            '"VerifyClientCertIfGiven" or "RequireAndVerifyClientCert" with client_ca_file'
        )
        yield ("tls", "client_auth_type"), message
    elif verifies and tls.client_ca_file is None:
        yield ("tls", "client_auth_type"), f"{tls.client_auth_type} takes client_ca_file, by which it verifies"
    elif tls.client_ca_file is not None and not verifies:
        yield ("tls", "client_ca_file"), 'it verifies nobody: set client_auth_type = "RequireAndVerifyClientCert"'
    if tls.client_allowed_sans and not verifies:
        yield (
            ("tls", "client_allowed_sans"),
            "names are looked at in certificates that are verified: set client_ca_file",
        )
    for index, name in enumerate(tls.cipher_suites):
        path = ("tls", "cipher_suites", str(index))
        if name in CIPHER_SUITES:
            continue
        if re.fullmatch(r"TLS_(AES|CHACHA20)_[A-Z0-9_]+", name):
            yield (
                path,
                f"{name} belongs to TLS 1.3, all of whose suites are strong: Python's TLS cannot choose among them",
            )
        elif name.startswith("TLS_"):
            there = ", ".join(CIPHER_SUITES)
            yield path, f"{name} is weak, or not known{suggest(name, CIPHER_SUITES) or f'; there are: {there}'}"
        else:
            yield (
                path,
                f"expected the name that IANA gives a suite, {next(iter(CIPHER_SUITES))} say; found {found(name)}",
            )


def _users(basic: BasicAuth | None) -> Iterator[_Wrong]:
    if basic is None:
        return
    for name, hashed in basic.users.items():
        match = re.fullmatch(r"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}", hashed.reveal())
        if not name or ":" in name or not name.isprintable():
            yield ("basic_auth", "users", name), 'expected a name of printable characters without ":"'
        if match is None:
            yield ("basic_auth", "users", name), "expected a bcrypt hash, such as `htpasswd -nBC 10 NAME` prints"
        elif not 4 <= int(match[1]) <= DEAREST:
            yield (
                ("basic_auth", "users", name),
                f"expected a hash of a cost from 4 to {DEAREST}; found one of {match[1]}",
            )
    for name in basic.scopes:
        if name not in basic.users:
            hint = suggest(name, basic.users) or "; give its hash in [web.basic_auth.users]"
            yield ("basic_auth", "scopes", name), f"there is no user of this name{hint}"


def _others(web: WebSettings) -> Iterator[_Wrong]:
    if web.tokens_file is not None and not web.tokens_file.startswith("/"):
        message = f"expected a path from the root, /etc/agentd/tokens.toml say; found {found(web.tokens_file)}"
        yield ("tokens_file",), message
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", web.route_prefix) or re.search(r"/\.+(/|$)", web.route_prefix):
        yield ("route_prefix",), f'expected "/" and a name, "/agentd" say; found {found(web.route_prefix)}'
    name = r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
    checks: Sequence[tuple[str, list[str], Callable[[str], object], str]] = (
        ("trusted_proxies", web.trusted_proxies, _is_network, "a network or an address, 10.1.2.0/24 say"),
        ("allowed_hosts", web.allowed_hosts, re.compile(name, re.IGNORECASE).fullmatch, "a name without a port"),
        ("cors_origins", web.cors_origins, re.compile(r"https?://[^/\s*]+").fullmatch, "https://HOST, without a path"),
    )
    for key, values, is_right, wanted in checks:
        for index, value in enumerate(values):
            if not is_right(value):
                yield (key, str(index)), f"expected {wanted}; found {found(value)}"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _like_ipv4(host: str) -> bool:
    return bool(host) and not host.strip("0123456789.")

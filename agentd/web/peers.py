"""Where a request comes from: this machine, a proxy, a web page, or anywhere else."""

import os
import re
import socket
import struct
from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from aiohttp import web

Networks = Sequence[IPv4Network | IPv6Network]

_PASSED_ON = ("Origin", "Forwarded", "X-Real-IP", "Via")
_FORWARDED = "x-forwarded-"
_SO_PEERGROUPS = 59
"""The supplementary groups of a peer (Linux 4.13, include/uapi/asm-generic/socket.h); Python has no name for it."""
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")
_FOR = re.compile(r'(?:^|[;,\s])for=(?:"\[?([^\]"]*)\]?(?::[0-9]+)?"|([^;,\s"]*))', re.IGNORECASE)
_PROTO = re.compile(r'(?:^|[;,\s])proto="?([a-z]+)', re.IGNORECASE)


class Peer(NamedTuple):
    """Who is at the other end, as far as the connection and the headers tell."""

    address: str
    """Empty over the Unix socket."""
    scheme: str
    """``http`` or ``https``: how whoever asks has asked, where a trusted proxy tells so."""
    local: bool
    """It comes from this machine by the loopback interface, asks for it by a name of its own, and nothing says that it
    was passed on."""
    page: bool
    """A web page of another origin has it sent."""


def peer_of(request: web.BaseRequest, trusted: Networks, origins: Collection[str]) -> Peer:
    """Return who is at the other end of a TCP connection.

    A request that a browser or a proxy passed on does not count as local, wherever its connection comes from, nor does
    one for a host of another name: a web page's name may be made to mean this machine (DNS rebinding). What comes from
    a proxy's address never does.
    """
    headers = request.headers
    transport = request.transport
    address = str((transport.get_extra_info("peername") or ("",))[0]) if transport is not None else ""
    scheme = request.scheme
    proxied = bool(trusted) and _within(address, trusted)
    if proxied:
        address = _client(request, trusted) or address
        scheme = _scheme(request) or scheme
    host = headers.get("Host", "")
    page = _from_a_page(request, f"{scheme}://{host}", origins)
    here = is_loopback(address) and is_loopback(hostname(host))
    return Peer(address, scheme, here and not (proxied or page or passed_on(request)), page)


def passed_on(request: web.BaseRequest) -> bool:
    """Say whether a header tells that a browser or a proxy has passed a request on."""
    headers = request.headers
    return any(name in headers for name in _PASSED_ON) or any(name.lower().startswith(_FORWARDED) for name in headers)


def may_administer(connection: socket.socket) -> bool:
    """Say whether the process at the other end of a Unix socket is run by root, by the agent's own user or by a member
    of its group. One whose user cannot be told is not.
    """
    try:
        _, user, group = struct.unpack(
            "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        )
    except (OSError, AttributeError):
        return False
    if user in (0, os.geteuid()) or group == os.getegid():
        return True
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * 4096)
    except OSError:  # an older kernel, or more groups than anybody has
        return False
    return os.getegid() in struct.unpack(f"{len(groups) // 4}I", groups)


def networks(texts: Sequence[str]) -> Networks:
    """Return the networks that a configuration names."""
    return [ip_network(text) for text in texts]


def is_loopback(host: str) -> bool:
    """Say whether a host, an address or a name, is this machine by the loopback interface."""
    if host in ("::1", "localhost"):
        return True
    numbers = host.removeprefix("::ffff:").split(".")  # 127.evil.example is a name, not an address
    return numbers[0] == "127" and len(numbers) == 4 and all(map(str.isdecimal, numbers))


def hostname(header: str) -> str:
    """Return the host of a Host header, ``[::1]:9797`` say, without its port; empty where it is not written so."""
    match = _HOST.fullmatch(header)
    return "" if match is None else (match[1] or match[2] or "").lower()


def is_allowed_host(header: str, names: Collection[str]) -> bool:
    """Say whether this machine may be asked for by what a Host header says: a name that is allowed, ``localhost``, or
    an address, which no name server can make to mean another machine.
    """
    host = hostname(header).rstrip(".")
    if host == "localhost" or _is_address(host):
        return True
    lowered = {name.lower() for name in names}
    above = host.partition(".")
    while above[2]:
        if f"*.{above[2]}" in lowered:
            return True
        above = above[2].partition(".")
    return host in lowered


def _from_a_page(request: web.BaseRequest, own: str, origins: Collection[str]) -> bool:
    """Say whether a page of another origin has a browser send this, and nobody has typed it in or followed a link."""
    headers = request.headers
    origin = headers.get("Origin")
    if origin is not None:
        return origin != own and origin not in origins
    site = headers.get("Sec-Fetch-Site", "none")
    return site not in ("none", "same-origin") and headers.get("Sec-Fetch-Mode") != "navigate"


def _client(request: web.BaseRequest, trusted: Networks) -> str:
    """Return the address that the last trusted proxy was asked from; empty where the headers do not agree on one."""
    found = set()
    for header in ("X-Forwarded-For", "Forwarded"):
        values = request.headers.getall(header, ())
        if values:
            text = ",".join(values)
            if header == "Forwarded":
                hops = [quoted or plain for quoted, plain in _FOR.findall(text)]
            else:
                hops = [hop.strip() for hop in text.split(",")]
            found.add(_last_untrusted(hops, trusted))
    return found.pop() if len(found) == 1 else ""


def _last_untrusted(hops: Sequence[str], trusted: Networks) -> str:
    for hop in reversed(hops):
        host = hop.partition("]")[0].lstrip("[") if hop.startswith("[") else hop
        host = host.partition(":")[0] if host.count(":") == 1 else host
        if not _is_address(host):
            return ""
        if not _within(host, trusted):
            return host
    return ""


def _scheme(request: web.BaseRequest) -> str:
    said = request.headers.getall("X-Forwarded-Proto", ())
    found = {said[-1].rpartition(",")[2].strip().lower()} if said else set()
    found.update(match.lower() for match in _PROTO.findall(",".join(request.headers.getall("Forwarded", ())))[-1:])
    return found.pop() if len(found) == 1 and found <= {"http", "https"} else ""


def _within(address: str, trusted: Networks) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in trusted)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True

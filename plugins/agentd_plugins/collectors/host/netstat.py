"""Counters of the network protocols, from /proc/net/netstat, /proc/net/snmp and /proc/net/snmp6."""

import re
from collections.abc import Iterable, Iterator, Sequence

from agentd.plugin import Collector, Config, Frame, Layout, Regex, hookimpl, unknown
from agentd_plugins.collectors.host._places import NOWHERE, Places

NAME = re.compile("[A-Za-z0-9_]+")


class NetstatConfig(Config):
    """Options of the collector netstat."""

    fields: Regex = Regex(
        "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|"
        "TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|"
        "Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|"
        "Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$"
    )
    """Which counters to tell, by protocol and name with an underscore between them."""


class Netstat(Collector[NetstatConfig]):
    """What IP, ICMP, TCP, UDP and others count, after RFC 1213, RFC 4293 and the kernel's snmp_counter.rst."""

    name = "netstat"
    blocking = False

    field = unknown("node_netstat_*", "Counter {} of the network protocols: a number of packets, octets or events.")

    _headings: Sequence[bytes] = ()
    _places = NOWHERE
    _layout = Layout()

    def collect(self) -> Frame:
        """Return the wanted counters."""
        texts = (self.host.proc("net/netstat"), self.host.proc("net/snmp"))
        try:
            snmp6 = self.host.proc("net/snmp6")
        except FileNotFoundError:  # IPv6 is switched off
            snmp6 = b""
        try:
            numbers = self._numbers(texts, snmp6)
        except (ValueError, OverflowError) as error:
            folder = f"{self.host.paths.procfs}/net"
            raise ValueError(f"{folder}/netstat, {folder}/snmp, {folder}/snmp6: {error}") from None
        return self._layout.fill(numbers)

    def _numbers(self, texts: Iterable[bytes], snmp6: bytes) -> list[float]:
        lines = [line for text in texts for line in text.splitlines()]
        words = b" ".join((*lines[1::2], snmp6)).split()
        numbers = self._places.read(words) if lines[::2] == self._headings else None
        if numbers is None:  # of 400 counters some 40 are wanted: which ones changes when a kernel changes its list
            keys = [key for text in texts for key in columns(text)] + list(pairs(snmp6))
            wanted = {key: place for place, key in enumerate(keys) if key and self.config.fields.search(key)}
            self._layout = Layout(self.field.named(key, 0.0) for key in wanted)
            self._places = Places(words, (place for place, key in enumerate(keys) if key is None), wanted.values())
            self._headings = lines[::2]
            numbers = self._places.read(words) or []
        return numbers


def columns(text: bytes) -> Iterator[str | None]:
    """Yield for each word in the rows of a netstat or snmp file what it counts; None for the protocol before them."""
    for protocol, names, values in tables(text):
        listed = names.decode(errors="replace").split()
        if len(listed) != len(values.split()) or values[:1].strip() or not all(map(NAME.fullmatch, listed)):
            raise ValueError(f"expected as many numbers as names for {protocol[:80]!r}, found {values[:200]!r}")
        yield None
        yield from (f"{protocol.decode(errors='replace')}_{name}" for name in listed)


def pairs(text: bytes) -> Iterator[str | None]:
    """Yield for each word of a snmp6 file what it counts; None for a name.

    Raises ``ValueError`` where a name has no number behind it.
    """
    words = text.split()
    if len(words) % 2:
        raise ValueError(f"expected names and numbers in snmp6, found {text[-80:]!r} at its end")
    for name in words[::2]:
        yield None
        yield key6(name.decode(errors="replace"))


def tables(text: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield protocol, names and numbers of each pair of lines of a netstat or snmp file (proc_pid_net(5)).

    Raises ``ValueError`` where the lines of a pair do not belong together.
    """
    lines = text.splitlines()
    if len(lines) % 2:
        raise ValueError(f"expected pairs of lines, found {lines[-1][:80]!r} at their end")
    for heading, row in zip(lines[::2], lines[1::2], strict=True):
        protocol, colon, names = heading.partition(b":")
        same, _, values = row.partition(b":")
        if not colon or protocol != same:
            raise ValueError(f"expected names and numbers of one protocol, found {heading[:40]!r} and {row[:40]!r}")
        yield protocol, names, values


def key6(name: str) -> str:
    """Return a name of snmp6 with an underscore behind the protocol's 6; nothing where it has no 6."""
    protocol, six, rest = name.partition("6")
    return f"{protocol}6_{rest}" if six else ""


@hookimpl
def agentd_collectors() -> list[type[Netstat]]:
    """Register the collector."""
    return [Netstat]

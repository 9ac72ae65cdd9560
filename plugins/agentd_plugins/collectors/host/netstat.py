"""Counters of the network protocols, from /proc/net/netstat, /proc/net/snmp and /proc/net/snmp6."""

from collections.abc import Iterator, Sequence

from agentd.plugin import Collector, Config, Context, Family, Metric, Regex, hookimpl, unknown

Plan = Sequence[tuple[int, Metric]]
"""The wanted ones among a row of numbers: which number, and what it becomes."""


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

    def __init__(self, config: NetstatConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        # Of 350 names some 40 are wanted: which ones is found out again only when a kernel changes its list.
        self._plans: dict[bytes, tuple[bytes, Plan]] = {}
        self._plan6: tuple[Sequence[bytes], Plan] = ((), ())

    def collect(self) -> list[Family]:
        """Return the wanted counters."""
        families = self._tables(self.host.proc("net/netstat"))
        families += self._tables(self.host.proc("net/snmp"))
        try:
            text = self.host.proc("net/snmp6")
        except FileNotFoundError:  # IPv6 is switched off
            return families
        return families + self._pairs(text)

    def _tables(self, text: bytes) -> list[Family]:
        families = []
        for protocol, names, values in tables(text):
            known, plan = self._plans.get(protocol, (None, ()))
            if known != names:
                plan = self._plan([f"{protocol.decode(errors='replace')}_{name}" for name in words(names)])
                self._plans[protocol] = names, plan
            numbers = values.split()
            if plan and len(numbers) <= plan[-1][0]:
                raise ValueError(f"expected as many numbers as names for {protocol[:80]!r}, found {len(numbers)}")
            families += [metric(float(numbers[place])) for place, metric in plan]
        return families

    def _pairs(self, text: bytes) -> list[Family]:
        fields = text.split()
        names, numbers = fields[::2], fields[1::2]
        if len(names) != len(numbers):
            raise ValueError(f"expected names and numbers in snmp6, found {text[-80:]!r} at its end")
        known, plan = self._plan6
        if known != names:
            plan = self._plan([key6(name.decode(errors="replace")) for name in names])
            self._plan6 = names, plan
        return [metric(float(numbers[place])) for place, metric in plan]

    def _plan(self, keys: Sequence[str]) -> Plan:
        return [(place, self.field.bound(key)) for place, key in enumerate(keys) if key and self._wants(key)]

    def _wants(self, key: str) -> bool:
        return self.config.fields.search(key) is not None


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


def words(names: bytes) -> list[str]:
    """Return the names in a heading."""
    return names.decode(errors="replace").split()


def key6(name: str) -> str:
    """Return a name of snmp6 with an underscore behind the protocol's 6; nothing where it has no 6."""
    protocol, six, rest = name.partition("6")
    return f"{protocol}6_{rest}" if six else ""


@hookimpl
def agentd_collectors() -> list[type[Netstat]]:
    """Register the collector."""
    return [Netstat]

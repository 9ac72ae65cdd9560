"""TCP connections by state, and what waits in them, from the kernel over netlink or from /proc/net/tcp and tcp6."""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator

from agentd.plugin import Collector, Config, Context, Family, NoData, gauge, hookimpl
from agentd_plugins.collectors.host._inetdiag import DiagnosisSocket, TcpSocket

STATES = (
    "unknown established syn_sent syn_recv fin_wait1 fin_wait2 time_wait close close_wait last_ack listen closing"
).split()
"""The states in the order of their numbers (net/tcp_states.h)."""


UNSUPPORTED = frozenset((errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ENOENT))
"""What a kernel answers that will not list sockets the next time either."""


class Tcpstat(Collector[Config]):
    """All TCP sockets of the agent's network namespace."""

    name = "tcpstat"
    blocking = True  # a server may have 100,000 of them, which the kernel lists one by one

    states = gauge(
        "node_tcp_connection_states",
        "Number of TCP sockets in each state; as rx_queued_bytes and tx_queued_bytes how many bytes wait in them to be "
        "read and to be acknowledged, plus how many connections wait, and may wait, for listening sockets.",
        ("state",),
    )

    def __init__(
        self, config: Config | None = None, context: Context | None = None, diagnosis: DiagnosisSocket | None = None
    ) -> None:
        super().__init__(config, context)
        self._diagnosis = diagnosis or DiagnosisSocket()
        self._asks = self.host.paths.sysfs == "/sys"  # any other machine's sockets are known from its files only

    async def stop(self) -> None:
        """Close the netlink socket, which the first collection opened."""
        self._diagnosis.close()

    def collect(self) -> list[Family]:
        """Return how many sockets are in each state that occurs, and the sums of their queues."""
        if self._asks:
            try:
                return self._told(self._diagnosis.tcp())
            except OSError as error:
                if error.errno not in UNSUPPORTED:  # of this moment: too many open files, say
                    return self._told(self._listed())
                self._asks = False
                self.log.warning(
                    "sockets are read from /proc/net/tcp, which takes longer and does not know how many connections a "
                    "listening socket may have waiting: the kernel does not list them over netlink (%s)",
                    error.strerror,
                )
        return self._told(self._listed())

    def _told(self, sockets: Iterable[TcpSocket]) -> list[Family]:
        samples = tally(sockets)
        return [self.states(samples)] if samples else []

    def _listed(self) -> Iterator[TcpSocket]:
        files = []
        for name in ("net/tcp", "net/tcp6"):
            try:
                files.append(self.host.proc(name))
            except FileNotFoundError:
                continue
        if not files:
            raise NoData("the kernel lists no TCP sockets")
        for text in files:
            yield from parse(text)


def tally(sockets: Iterable[TcpSocket]) -> dict[str, float]:
    """Return how many sockets are in each state that occurs, and what waits in all of them; nothing where none are."""
    counts: Counter[int] = Counter()
    received = unsent = 0
    for state, waits, remains in sockets:
        counts[state] += 1
        received += waits
        unsent += remains
    if not counts:
        return {}
    samples = {"rx_queued_bytes": float(received), "tx_queued_bytes": float(unsent)}
    for state, count in counts.items():
        name = STATES[state] if 0 < state < len(STATES) else STATES[0]
        samples[name] = samples.get(name, 0.0) + count
    return samples


def parse(text: bytes) -> Iterator[TcpSocket]:
    """Yield the sockets of a /proc/net/tcp (proc_pid_net(5)).

    Raises ``ValueError`` for a line without a state and queues in its fourth and fifth column.
    """
    for line in text.splitlines()[1:]:  # the first is a heading
        columns = line.split(None, 5)
        if len(columns) < 5:
            raise ValueError(f"expected at least five columns in tcp, found {line[:200]!r}")
        unsent, _, received = columns[4].partition(b":")
        yield TcpSocket(int(columns[3], 16), int(received, 16), int(unsent, 16))


@hookimpl
def agentd_collectors() -> list[type[Tcpstat]]:
    """Register the collector."""
    return [Tcpstat]

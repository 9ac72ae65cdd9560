"""What the NFS client counts for each server's export, from /proc/self/mountstats and /proc/self/mountinfo."""

from collections.abc import Iterable, Iterator, Sequence

from agentd.plugin import Collector, Config, Family, Labels, Metric, NoData, counter, gauge, hookimpl
from agentd_plugins.collectors.host._mountstats import NfsMount, addresses, parse
from agentd_plugins.collectors.host._parsed import parsed

EXPORT = ("export", "protocol", "mountaddr")
IDLE = 4
"""Which number of a transport is the time since its last use."""
EXACT = 2**53
"""Times that went backwards come as huge numbers: they are told modulo this, as in node_exporter."""


def counted(name: str, what: str) -> Metric:
    """Declare a counter by export."""
    return counter(f"node_mountstats_nfs_{name}_total", what, EXPORT)


def event(name: str, what: str) -> Metric:
    """Declare a counter of events by export."""
    return counted(f"event_{name}", f"Number of times that {what}.")


def transport(name: str, what: str) -> Metric:
    """Declare a counter by transport, of which an export has several when it is mounted with nconnect."""
    return counter(f"node_mountstats_nfs_transport_{name}_total", what, (*EXPORT, "transport"))


def operation(name: str, what: str) -> Metric:
    """Declare a counter by what the server was asked."""
    return counter(f"node_mountstats_nfs_operations_{name}_total", what, (*EXPORT, "operation"))


class Mountstats(Collector[Config]):
    """NFS mounts of the agent's own mount namespace."""

    name = "mountstats"
    blocking = True  # a mount or unmount that is under way holds up the list of mounts

    info = gauge(
        "node_mountstats_nfs_mountpoint_info", "Always 1: where an export is mounted.", (*EXPORT, "mountpoint")
    )
    age = counted("age_seconds", "Seconds since the export was mounted.")
    bytes = (
        counted("read_bytes", "Bytes read with read(2) and its like."),
        counted("write_bytes", "Bytes written with write(2) and its like."),
        counted("direct_read_bytes", "Bytes read from files opened with O_DIRECT."),
        counted("direct_write_bytes", "Bytes written to files opened with O_DIRECT."),
        counted("total_read_bytes", "Bytes that the server sent as contents of files."),
        counted("total_write_bytes", "Bytes that the server took as contents of files."),
        counted("read_pages", "Number of pages read for programs that mapped a file."),
        counted("write_pages", "Number of pages written for programs that mapped a file."),
    )
    # In the order of enum nfs_stat_eventcounters (linux/nfs_iostat.h); congestion_wait is not told.
    events = (
        event("inode_revalidate", "the attributes of a file were checked with the server"),
        event("dnode_revalidate", "a name that was known was checked with the server"),
        event("data_invalidate", "the contents known of a file were thrown away"),
        event("attribute_invalidate", "the attributes known of a file were thrown away"),
        event("vfs_open", "a file or folder was opened"),
        event("vfs_lookup", "a name was looked for in a folder"),
        event("vfs_access", "permissions were checked"),
        event("vfs_update_page", "a page was to be changed"),
        event("vfs_read_page", "a single page was to be read"),
        event("vfs_read_pages", "a group of pages was to be read"),
        event("vfs_write_page", "a single page was to be written"),
        event("vfs_write_pages", "a group of pages was to be written"),
        event("vfs_getdents", "a folder was listed"),
        event("vfs_setattr", "attributes were to be changed"),
        event("vfs_flush", "waiting changes were to be sent because a file was closed"),
        event("vfs_fsync", "a program asked for changes to be safe, with fsync(2)"),
        event("vfs_lock", "a file was to be locked"),
        event("vfs_file_release", "a file was closed for good"),
        None,
        event("truncation", "a file was cut off"),
        event("write_extension", "a file grew by being written behind its end"),
        event("silly_rename", "a file was removed while it was open"),
        event("short_read", "the server sent less than was asked for"),
        event("short_write", "the server took less than was sent"),
        event("jukebox_delay", "the server asked for patience (EJUKEBOX), to fetch a tape say"),
        event("pnfs_read", "something was read by parallel NFS"),
        event("pnfs_write", "something was written by parallel NFS"),
    )
    transports = {
        1: transport("bind", "Number of times that a port was bound for the connection."),
        2: transport("connect", "Number of times that the connection was made."),
        4: gauge(
            "node_mountstats_nfs_transport_idle_time_seconds",
            "Seconds since something was last sent or received.",
            (*EXPORT, "transport"),
        ),
        5: transport("sends", "Number of calls that were sent."),
        6: transport("receives", "Number of answers that were received."),
        7: transport("bad_transaction_ids", "Number of answers to no known call."),
        9: transport("backlog_queue", "Sum, over all calls, of how many waited for a slot."),
        10: gauge(
            "node_mountstats_nfs_transport_maximum_rpc_slots",
            "Number of calls that were ever under way at once.",
            (*EXPORT, "transport"),
        ),
        11: transport("sending_queue", "Sum, over all calls, of how many waited to be sent."),
        12: transport("pending_queue", "Sum, over all calls, of how many waited for an answer."),
    }
    counts = (
        operation("requests", "Number of calls."),
        operation("transmissions", "Number of times that calls were sent, again and again where no answer came."),
        operation("major_timeouts", "Number of times that a call was given up, or begun anew."),
        operation("sent_bytes", "Bytes of calls, with their headers."),
        operation("received_bytes", "Bytes of answers, with their headers."),
    )
    times = (
        operation("queue_time_seconds", "Seconds that calls waited to be sent, added up."),
        operation("response_time_seconds", "Seconds from sending to the answer, added up."),
        operation("request_time_seconds", "Seconds that calls took in all, added up."),
    )

    def collect(self) -> list[Family]:
        """Return a mount's place for each, and the numbers of each export once, however often it is mounted."""
        try:
            mounts = parsed(self.host, "self/mountstats", parse)
        except FileNotFoundError:
            raise NoData("the kernel does not tell what is counted for mounts") from None
        places, exports = told(mounts, parsed(self.host, "self/mountinfo", addresses))
        samples: dict[Metric, dict[Labels, float]] = {self.info: dict.fromkeys(places, 1.0)} if places else {}
        for labels, mount in exports.items():
            for metric, more, value in self._numbers(mount):
                samples.setdefault(metric, {})[labels + more] = value
        return [metric(values) for metric, values in samples.items()]

    def _numbers(self, mount: NfsMount) -> Iterator[tuple[Metric, Labels, float]]:
        yield self.age, (), float(mount.age)
        for metric, number in zip(self.bytes, mount.bytes, strict=True):
            yield metric, (), float(number)
        for event, number in zip(self.events, mount.events, strict=True):
            if event:
                yield event, (), float(number)
        for index, (_, numbers) in enumerate(mount.transports):
            for place, metric in self.transports.items():
                yield metric, (str(index),), float(numbers[place] % EXACT if place == IDLE else numbers[place])
        for name, numbers in mount.operations.items():
            for metric, number in zip(self.counts, numbers, strict=False):
                yield metric, (name,), float(number)
            for metric, number in zip(self.times, numbers[len(self.counts) :], strict=True):
                yield metric, (name,), (number % EXACT) / 1000  # milliseconds


def told(mounts: Iterable[NfsMount], addresses: Sequence[str]) -> tuple[list[Labels], dict[Labels, NfsMount]]:
    """Return the labels of each place at which an export is mounted, and of each export the mount that tells of it.

    ``addresses`` are those of all mounts of the machine, in their order. Once an export is known, the further
    connections of a mount are passed over, as in node_exporter.
    """
    places: dict[Labels, None] = {}
    exports: dict[Labels, NfsMount] = {}
    for mount in mounts:
        address = addresses[mount.place] if mount.place < len(addresses) else ""
        for protocol, _ in mount.transports:
            labels = (mount.export, protocol, address)
            places[(*labels, mount.mountpoint)] = None
            if labels in exports:
                break
            exports[labels] = mount
    return list(places), exports


@hookimpl
def agentd_collectors() -> list[type[Mountstats]]:
    """Register the collector."""
    return [Mountstats]

"""What the agent tells about its events: the journal, and each sink under the same names."""

from bisect import bisect_left
from itertools import accumulate
from math import inf

from agentd.events.flow import Flow
from agentd.metrics.family import Histogram, Labels, Metric, counter, gauge
from agentd.metrics.frame import Frame, Layout

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, inf)

PLUGIN = ("plugin",)


class EventMetrics:
    """The metrics of one agent's events."""

    taken = counter("agentd_journal_events_total", "Events that were taken, to be written down and delivered.")
    refused = counter("agentd_events_refused_total", "Events of plugins that were left out because they were none.")
    dropped = counter(
        "agentd_journal_events_dropped_total",
        "Events lost because too much waited to be written down, so that memory was full.",
    )
    damaged = counter("agentd_journal_events_damaged_total", "Events found damaged in the journal, and left out.")
    size = gauge("agentd_journal_size_bytes", "Room that events take in the journal's file, in bytes.")
    writable = gauge("agentd_journal_writable", "Whether events can be written down now (1) or wait in memory (0).")
    commits = Metric(
        "agentd_journal_commit_duration_seconds",
        "histogram",
        "Seconds that it took to write down what there was, with all that had come together meanwhile.",
    )
    sinks = (
        counter("agentd_sink_events_sent_total", "Events that a sink's receiver has acknowledged.", PLUGIN),
        counter("agentd_sink_events_retried_total", "Events that have to be sent once more, each time.", PLUGIN),
        counter("agentd_sink_events_rejected_total", "Events that a sink's receiver will never accept.", PLUGIN),
        counter("agentd_sink_events_dropped_total", "Events that were dropped before a sink had got them.", PLUGIN),
        gauge("agentd_sink_lag_events", "Events behind the last one that a sink has got, wanted or not.", PLUGIN),
        gauge("agentd_sink_lag_seconds", "Age in seconds of the oldest event that a sink has yet to deliver.", PLUGIN),
        gauge("agentd_sink_dead_letters", "Events that are set aside for a sink, and may be replayed.", PLUGIN),
        gauge("agentd_sink_connected", "Whether a sink's last attempt went well (1) or not (0).", PLUGIN),
        gauge("agentd_sink_healthy", "Whether a sink delivers in the time that it may take (1) or not (0).", PLUGIN),
    )

    journal = (taken, refused, dropped, damaged, size, writable)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._counts = [0] * len(BOUNDS)
        self._sum = 0.0
        self._names: tuple[str, ...] | None = None
        self._layout = Layout()

    @classmethod
    def declared(cls) -> list[Metric]:
        """Return what they are, for the reference page."""
        return [*cls.journal, cls.commits, *cls.sinks]

    def families(self) -> Frame:
        """Return all of them as they are now."""
        flow = self._flow
        statuses = flow.sinks()
        names = tuple(status.sink for status in statuses)
        commits = self._commits()
        journal = flow.status()
        if names != self._names:
            self._names = names
            keys: list[Labels] = [(name,) for name in names]
            self._layout = Layout(
                [
                    *(metric(0.0) for metric in self.journal),
                    self.commits(commits),
                    *(metric(dict.fromkeys(keys, 0.0)) for metric in self.sinks if keys),
                ]
            )
        rows = [
            (
                float(status.sent),
                float(status.retried),
                float(status.rejected),
                float(status.dropped),
                float(status.lag_events),
                status.lag_seconds,
                float(status.dead_letters),
                float(status.state == "connected"),
                float(status.healthy),
            )
            for status in statuses
        ]
        return self._layout.fill(
            [
                *(float(flow.journal.taken), float(flow.bus.refused), float(journal.dropped), float(journal.damaged)),
                *(float(journal.size_bytes), float(not journal.error)),
                commits,
                *(value for column in zip(*rows, strict=True) for value in column),
            ]
        )

    def _commits(self) -> Histogram:
        for seconds in self._flow.journal.commit_durations():
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._sum += seconds
        cumulative = [float(count) for count in accumulate(self._counts)]
        return Histogram(tuple(zip(BOUNDS, cumulative, strict=True)), cumulative[-1], self._sum)

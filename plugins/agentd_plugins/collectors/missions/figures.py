"""What was counted of missions, and the families that tell it."""

from dataclasses import dataclass, field

from agentd.plugin import Family, Histogram, Metric, counter, gauge

STATUS_TOTAL = counter("mission_status_total", "Entries of mission streams with this status.", ("status",))
ACTIVE = gauge("missions_active", "Missions that were heard of and have not ended.")
DURATION = Metric(
    "mission_duration_seconds", "histogram", "Time from the entry with which a mission began to the one that ended it."
)
UNREADABLE = counter("mission_entries_unreadable_total", "Entries in which no status was found.")
FORGOTTEN = counter(
    "missions_forgotten_total",
    "Missions that were given up: nothing was heard of them, or there were too many at once.",
)
LOST = counter("mission_stream_lost_entries_total", "Entries that were gone before they were counted.", ("stream",))
GAPS = counter(
    "mission_stream_gaps_total", "Times that entries were found missing, or another stream under the name.", ("stream",)
)
AGE = gauge("mission_read_age_seconds", "Time since Redis last answered what there is to count.")

DECLARED = (STATUS_TOTAL, ACTIVE, DURATION, UNREADABLE, FORGOTTEN, LOST, GAPS, AGE)


@dataclass(frozen=True)
class Figures:
    """What was counted."""

    statuses: dict[str, int] = field(default_factory=dict)
    active: int = 0
    durations: Histogram | None = None
    unreadable: int = 0
    forgotten: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)

    def families(self) -> list[Family]:
        """Return what there is to tell."""
        families = [
            STATUS_TOTAL(self.statuses),
            ACTIVE(float(self.active)),
            UNREADABLE(float(self.unreadable)),
            FORGOTTEN(float(self.forgotten)),
            LOST(self.lost),
            GAPS(self.gaps),
        ]
        return families if self.durations is None else [*families, DURATION(self.durations)]

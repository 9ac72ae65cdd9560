"""One robot: what it has told, and what the agent itself knows of it and of its connection."""

from collections.abc import Callable, Mapping
from typing import Protocol

from agentd.plugin import counter, gauge
from agentd_plugins.collectors.robots.clock import Offset
from agentd_plugins.collectors.robots.lexicon import Lexicon
from agentd_plugins.collectors.robots.lists import Wants
from agentd_plugins.collectors.robots.readings import Readings
from agentd_plugins.collectors.robots.series import Series
from agentd_plugins.collectors.robots.signals import ROBOT, Signal
from agentd_plugins.collectors.robots.streams import KEPT_AS, Streams

FOREVER = float("inf")

SIGN = 0.01
"""Change of a battery's charge ratio from which one can tell whether it is charged."""

FLAPPING, FLAPPING_WITHIN = 3, 60.0
"""Replacements by other streams, in so many seconds, that may still be one robot's."""

OWN: Mapping[str, Signal] = {
    name: Signal(declare(f"robot_{name}", text, (ROBOT, *labels)))
    for name, declare, text, labels in (
        ("connected", gauge, "Whether a robot's connection is open.", ("transport",)),
        ("up", gauge, "Whether a robot has told something lately: an open connection is not enough.", ()),
        ("last_seen_timestamp_seconds", gauge, "When a robot was heard last, in seconds since 1970.", ("transport",)),
        ("connections_total", counter, "Connections of a robot.", ("transport",)),
        ("disconnections_total", counter, "Connections of a robot that have ended.", ("transport", "reason")),
        ("messages_lost_total", counter, "Numbered frames of a robot that never came.", ("stream",)),
        ("messages_repeated_total", counter, "Numbered frames that a robot sent although they were safe.", ("stream",)),
        ("messages_late_total", counter, "Frames whose metrics were too old to show: they are events.", ()),
        ("link_rtt_seconds", gauge, "Time that the last ping to a robot and back took.", ("transport",)),
        ("clock_offset_seconds", gauge, "How far a robot's clock is ahead of the agent's.", ()),
        ("telemetry_suspect_total", counter, "Values that contradict what their field should mean.", ("rule",)),
        ("telemetry_refused_total", counter, "What a robot sent and the agent left out.", ("reason",)),
    )
}
"""What the agent itself knows of each robot."""


class Link(Protocol):
    """An open connection of a robot."""

    transport: str
    stream: str

    @property
    def says_hello(self) -> bool:
        """Whether its stream has a name of its own: that of a plain client is only where it comes from."""

    def replace(self, stream: str) -> None:
        """End, because a newer connection has come, by this stream."""

    def forget(self) -> None:
        """End, because somebody wants the robot to be forgotten."""

    def safe(self, seq: int) -> None:
        """Tell that all numbered frames up to this one are on disk."""

    def refused(self, seq: int, why: str) -> None:
        """Tell that a frame cannot be written down, ever: it counts as consumed."""

    def unsafe(self, why: str) -> None:
        """End, because nothing can be written down now: what is not acknowledged has to be sent again."""


class Robot:
    """All that the agent knows of a robot."""

    __slots__ = (
        "_charge",
        "_grew",
        "_in_second",
        "_lost_told",
        "_own",
        "_replaced",
        "_second_ends",
        "_told",
        "_warn",
        "awaited",
        "bytes",
        "client",
        "clock",
        "connection",
        "frames",
        "fresh",
        "id",
        "readings",
        "seen",
        "stale_told",
        "streams",
    )

    def __init__(
        self,
        id: str,
        budget: int,
        lexicon: Lexicon,
        streams: Mapping[str, int],
        *,
        grew: Callable[[], None],
        warn: Callable[..., None],
        wants: Wants = bool,
        longest: float = 30.0,
    ) -> None:
        self.id = id
        self.readings = Readings(id, budget, lexicon, self.suspect, grew, wants=wants, longest=longest)
        self.streams = Streams(streams)
        self.connection: Link | None = None
        self.seen = 0.0
        """When it was heard last, by the monotonic clock."""
        self.fresh = 0.0
        """When what it told last was measured."""
        self.awaited = 0.0
        """When it came first, by the monotonic clock; 0 where it never did: then it has been awaited all the time."""
        self.client: str | None = None
        """Name and version of its software, as it said last."""
        self.clock = Offset()
        """How far its clock is ahead of the agent's, as far as one can tell."""
        self.stale_told = False
        self.frames = self.bytes = 0
        """What it has sent in the window of ``telemetry.data_received``."""
        self._grew = grew
        self._warn = warn
        self._told: set[str] = set()
        self._second_ends, self._in_second = 0.0, 0
        self._charge: tuple[float, bool] | None = None
        self._lost_told = 0.0
        self._own: dict[tuple[str, tuple[str, ...]], Series] = {}
        self._replaced: tuple[float, ...] = ()  # a deque takes ten times as much, of each robot

    @property
    def state_key(self) -> str:
        """The key of what is written down of it."""
        return f"{KEPT_AS}{self.id}"

    def series(self) -> list[Series]:
        """Return all series: those that the agent knows, and those that the robot has told."""
        return [*list(self._own.values()), *list(self.readings.series.values())]

    def link(self, stream: str) -> Link | None:
        """Return the connection on which a stream comes now: not always the one on which a frame of it came."""
        return self.connection if self.connection is not None and self.connection.stream == stream else None

    def own(self, name: str, *labels: str) -> Series:
        """Return one of the series that the agent itself knows of the robot."""
        series = self._own.get((name, labels))
        if series is None:
            series = self._own[name, labels] = Series(OWN[name], (self.id, *labels), "")
            series.stamp = FOREVER
            self._grew()
        return series

    def measured(self, name: str, *labels: str, value: float, at: float) -> None:
        """Set one of those that grow old as what the robot tells does."""
        series = self.own(name, *labels)
        series.value, series.stamp = value, at

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to one of the counters that the agent keeps of the robot."""
        self.own(name, *labels).value += by

    def suspect(self, rule: str, field: str) -> None:
        """Count what a field says that cannot be, or for which there is no room."""
        name = "telemetry_suspect_total" if rule in SUSPECT else "telemetry_refused_total"
        self.count(name, rule)
        if rule not in self._told:
            self._told.add(rule)
            self._warn("robot %s, field %r: %s; further ones are only counted", self.id, field, RULES.get(rule, rule))

    def heard(self, now: float, frames: int, size: int) -> None:
        """Note that it has sent something."""
        self.seen = now
        self.frames += frames
        self.bytes += size
        if now >= self._second_ends:
            self._second_ends, self._in_second = now + 1.0, 0
        self._in_second += frames

    def exceeds(self, rate: int) -> bool:
        """Say whether it has sent more frames than so many in this second."""
        return self._in_second > rate

    def lost_since(self) -> float:
        """Return how many frames were lost since this was asked last."""
        lost = self._own.get(("messages_lost_total", ("data",)))
        number = lost.value if lost is not None else 0.0
        self._lost_told, since = number, number - self._lost_told
        return since

    def round_trip(self) -> float | None:
        """Return how long the last ping took, in seconds."""
        series = self._own.get(("link_rtt_seconds", ("websocket",)))
        return series.value if series is not None else None

    def check_sign(self) -> None:
        """Note where a battery's charge falls although its current says that it is charged, or the other way round."""
        charge = self.readings.series.get(("robot_battery_charge_ratio", (None,)))
        current = self.readings.series.get(("robot_battery_current_amperes", (None,)))
        if charge is None or current is None or not current.value:
            return
        charging = current.value > 0
        if self._charge is None or self._charge[1] != charging:
            self._charge = (charge.value, charging)
        elif abs(change := charge.value - self._charge[0]) >= SIGN:
            if (change > 0) != charging:
                self.suspect("current_sign", current.field)
            self._charge = (charge.value, charging)

    def flaps(self, now: float, stream: str) -> bool:
        """Say whether a connection by this stream is one too many: several robots use this id."""
        if self.connection is None or (self.connection.stream == stream and self.connection.says_hello):
            return False
        if len(self._replaced) == FLAPPING and now - self._replaced[0] <= FLAPPING_WITHIN:
            return True
        if self.connection.stream != stream:
            self.rivalled(now)
        return False

    def rivalled(self, now: float) -> None:
        """Note that a connection was replaced by what may be another robot of this id."""
        self._replaced = (*self._replaced[1 - FLAPPING :], now)


RULES: Mapping[str, str] = {
    "budget": "this robot has as many series as max_robot_series allows: the field is left out",
    "range": "the value cannot be by the scale that its field should have: an override may say which it has",
    "current_sign": "the battery's charge and the sign of its current contradict each other",
    "future_timestamp": "the time lies in the future",
    "past_timestamp": "the time lies before the year 2000, and the robot has not said what its clock says",
    "states": "has more texts than may become series",
    "name": "its name is too long",
    "text": "a text means nothing here",
    "type": "is no number",
}
"""What the log says of what is left out or suspect."""

SUSPECT = frozenset({"range", "future_timestamp", "past_timestamp", "current_sign"})
"""Reasons that say that a value contradicts what its field should mean; it is shown as it was said."""

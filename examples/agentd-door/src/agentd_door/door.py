"""Doors, from the files that their controller writes: one for each door, with two numbers.

The first number is how often the door was opened since the controller started, the second whether it is open now.
"""

from collections.abc import Iterator

from agentd.plugin import Collector, Config, Context, Duration, Family, NoData, Regex, counter, gauge, hookimpl


class DoorConfig(Config):
    """Options of the collector: keys of its section."""

    folder: str = "/run/doors"
    """The folder in which the controller keeps a file for each door, under the door's name."""
    ignore: Regex | None = None
    """Doors whose names this finds are left out; none are where it is not given."""
    open_at_most: Duration = Duration(300)
    """How long a door may stand open before the event `door.left_open` says so, once each time; at least a second."""

    def __post_init__(self) -> None:
        if self.open_at_most < 1:
            raise ValueError(f'open_at_most: expected at least "1s", found "{self.open_at_most}"')


class Door(Collector[DoorConfig]):
    """How often doors are opened, and which stand open."""

    name = "door"
    interval = 5.0  # on a schedule: a door is noticed although nobody scrapes

    opened = counter("door_opened_total", "How often the door was opened since its controller started.", ("door",))
    is_open = gauge("door_open", "Whether the door is open (1) or closed (0).", ("door",))

    def __init__(self, config: DoorConfig | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._open_since: dict[str, float] = {}
        self._told: set[str] = set()

    def collect(self) -> list[Family]:
        """Return both numbers of each door; one whose file is wrong is left out, and named in the log."""
        opened, is_open = {}, {}
        for door, text in self.files():
            try:
                opened[door], is_open[door] = parse(text)
            except ValueError as error:
                self.log.warning("%s/%s: %s", self.config.folder, door, error)
        self.look({door for door, value in is_open.items() if value})
        return [self.opened(opened), self.is_open(is_open)]

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield each door's name, and what its file has."""
        folder = self.host.path(self.config.folder)
        if not folder.is_dir():
            raise NoData("there is no controller of doors on this machine")
        for file in sorted(folder.iterdir()):
            if self.config.ignore is None or not self.config.ignore.search(file.name):
                try:
                    yield file.name, file.read_text(errors="replace")
                except FileNotFoundError:  # the controller took it away meanwhile
                    continue

    def look(self, doors: set[str]) -> None:
        """Say of each door that has been open for too long that it is, once."""
        now = self.clock.monotonic()
        self._open_since = {door: self._open_since.get(door, now) for door in doors}
        self._told &= doors
        for door, since in self._open_since.items():
            if now - since >= self.config.open_at_most and door not in self._told:
                self._told.add(door)
                self.emit("door.left_open", {"seconds": round(now - since)}, target=door)


def parse(text: str) -> tuple[float, float]:
    """Return both numbers of a door's file. Raises ``ValueError`` where these are not what it has."""
    words = text.split()
    if len(words) != 2 or not (words[0].isascii() and words[0].isdigit()) or words[1] not in ("0", "1"):
        raise ValueError(f"expected a count and 0 or 1, found {text[:40]!r}")
    return float(words[0]), float(words[1])


@hookimpl
def agentd_collectors() -> list[type[Door]]:
    """Register the collector."""
    return [Door]

"""Name and version of the operating system, from os-release(5)."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from agentd.plugin import Collector, Config, Context, Family, Frame, NoData, gauge, hookimpl

FILES = ("/etc/os-release", "/usr/lib/os-release")
MAJOR_MINOR = re.compile(r"[0-9]+\.?[0-9]*")
ESCAPED = re.compile(r"\\(.)")
ESCAPED_IN_QUOTES = re.compile(r'\\([\\"$`])')

INFO = (
    "build_id id id_like image_id image_version name pretty_name variant variant_id version version_codename version_id"
)


class Os(Collector[Config]):
    """Which operating system this is."""

    name = "os"
    # One stat of a file whose inode is in memory since the last time; it is read again only after an update. It lies on
    # the root file system, from which the agent's own code is paged in too: where that hangs, a worker is no help.
    blocking = False

    info = gauge("node_os_info", "Names and versions of the operating system; always 1.", tuple(INFO.split()))
    version = gauge(
        "node_os_version", "Major and minor version of the operating system as one number.", ("id", "id_like", "name")
    )
    support_end = gauge(
        "node_os_support_end_timestamp_seconds",
        "When the operating system's maker ends its support, in seconds since 1970, UTC.",
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._paths = [str(self.host.path(name)) for name in FILES]
        self._read: tuple[object, Frame] = (None, Frame.of([]))

    def collect(self) -> Frame:
        """Return the names, the version where it begins with a number, and the end of support where it is known."""
        for path in self._paths:
            try:
                return self._told(path)
            except FileNotFoundError:
                continue
        raise NoData(f"there is neither {' nor '.join(self._paths)}")

    def _told(self, path: str) -> Frame:
        status = os.stat(path)
        state = (path, status.st_mtime_ns, status.st_ino, status.st_size)
        if self._read[0] != state:
            self._read = (state, Frame.of(self._families(parse(Path(path).read_bytes()))))
        return self._read[1]

    def _families(self, release: dict[str, str]) -> list[Family]:
        labels = {name: release.get(name.upper(), "") for name in self.info.labels}
        families = [self.info({tuple(labels.values()): 1.0})]
        version = MAJOR_MINOR.match(labels["version_id"])
        if version and float(version[0]) > 0:
            families.append(self.version({tuple(labels[name] for name in self.version.labels): float(version[0])}))
        if release.get("SUPPORT_END"):
            families.append(self.support_end(midnight(release["SUPPORT_END"])))
        return families


def parse(text: bytes) -> dict[str, str]:
    """Return the assignments in an os-release file, without quotes and escapes; other lines say nothing."""
    release = {}
    for line in text.decode(errors="replace").split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            release[name] = unquoted(value)
    return release


def unquoted(value: str) -> str:
    """Return what the shell would make of a value, which is quoted as a whole or not at all."""
    quote = value[:1]
    if len(value) >= 2 and quote in "'\"" and value.endswith(quote):
        return value[1:-1] if quote == "'" else ESCAPED_IN_QUOTES.sub(r"\1", value[1:-1])
    return ESCAPED.sub(r"\1", value)


def midnight(date: str) -> float:
    """Return when a day such as ``2029-05-31`` begins in UTC, in seconds since 1970."""
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError(f"SUPPORT_END in os-release: expected a date like 2029-05-31, found {date!r}") from None


@hookimpl
def agentd_collectors() -> list[type[Os]]:
    """Register the collector."""
    return [Os]

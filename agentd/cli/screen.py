"""A status as lines for people: what is wrong first, and no more than the terminal has room for."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agentd.cli.lines import ago, escaped, table
from agentd.status import JournalStatus, PluginStatus, SinkStatus, Status, wrong

if TYPE_CHECKING:
    from agentd.cli.status import Robots

LEAST = 5
"""Plugins that are shown though the terminal has no room for them."""


def lines(status: Status, robots: Robots | None, trouble: Sequence[str], *, columns: int, height: int) -> Iterator[str]:
    """Yield the screen. A ``height`` below 1 is no limit; ``trouble`` are the last errors, a line for each."""
    head = [line for text in _head(status, robots) for line in folded(text, columns)]
    head += [*of_sinks(status.sinks, columns), ""]
    tail = [line for text in trouble for line in folded(text, columns)]
    tail = ["", "the last errors (agentd events shows more):", *tail] if tail else []
    yield from head
    room = None if height < 1 else max(LEAST, height - len(head) - len(tail) - 1)
    yield from of_plugins(status.plugins, columns, room)
    if room is None:
        yield from (line for name, why in status.disabled.items() for line in folded(f"{name}: {why}", columns))
    yield from tail


def _head(status: Status, robots: Robots | None) -> Iterator[str]:
    bad = wrong(status)
    yield f"agentd {status.version} is " + (f"NOT WELL: {', '.join(bad)}" if bad else "well, and ready")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started_at))
    memory = "" if status.resident_bytes is None else f", {mebibytes(status.resident_bytes)} of memory"
    yield f"process {status.pid}, since {since} ({ago(status.uptime_seconds)}){memory}"
    yield f"listens on {', '.join(status.listen)}; state in {status.state_directory}"
    yield f"configuration: {', '.join(status.config_files) or 'the defaults'}"
    if status.journal is not None:
        yield f"journal: {told(status.journal)}"
    if robots is not None:
        yield f"robots: {robots.robots} known, {robots.active_connections} connected, {robots.stale} stale"
    if status.memory_pressure != "none":
        yield f"memory: ABOVE ITS LIMIT, or was lately: {status.memory_pressure} given up"
    if status.tokens_error:
        yield f"tokens: THE FILE CANNOT BE USED, those known before still count: {escaped(status.tokens_error)}"
    if status.tls_error:
        yield f"TLS: THE CERTIFICATES CANNOT BE USED, those before are shown still: {escaped(status.tls_error)}"
    if status.config_error:
        yield "the configuration in the files is REFUSED, an earlier one is used:"
        yield from (f"    {escaped(line)}" for line in status.config_error.splitlines())


def of_sinks(sinks: Sequence[SinkStatus], columns: int) -> Iterator[str]:
    """Yield a table of sinks, the unhealthy ones first, and below each what is wrong with it."""
    if not sinks:
        return
    yield ""
    ordered = sorted(sinks, key=lambda sink: sink.healthy)
    rows = [("sink", "state", "healthy", "lag", "behind", "dead")]
    for sink in ordered:
        healthy = "yes" if sink.healthy else "NO"
        row = (sink.sink, sink.state, healthy, str(sink.lag_events), ago(sink.lag_seconds), str(sink.dead_letters))
        rows.append(row)
    head, *body = table(rows, numbers=range(3, 6))
    yield head
    for sink, line in zip(ordered, body, strict=True):
        yield line
        if sink.error or not sink.healthy:
            health = sink.state if sink.healthy else "UNHEALTHY"
            text = f"{sink.sink}: {health}, {sink.lag_events} events wait: {escaped(sink.error or sink.state)}"
            yield from folded(text, columns)


def of_plugins(plugins: Sequence[PluginStatus], columns: int, room: int | None) -> Iterator[str]:
    """Yield a table of plugins in at most ``room`` lines, those that are wrong first: these are never left out.

    Why each runs is shown where there is room, and so is what one lacks that tells nothing.
    """
    ordered = sorted(plugins, key=lambda plugin: (plugin.well, plugin.up))
    rows = [("plugin", "up", "last run", "ms", "series", "timeouts")]
    for plugin in ordered:
        milliseconds = "" if plugin.duration_seconds is None else f"{plugin.duration_seconds * 1000:.2f}"
        series = "" if plugin.series is None else str(plugin.series)
        up = "restarting" if plugin.restarting else "yes" if plugin.up else "paused" if plugin.paused_until else "NO"
        rows.append((plugin.plugin, up, plugin.last_run, milliseconds, series, str(plugin.timeouts or "")))
    head, *body = table(rows, numbers=range(3, 6))
    width = max(map(len, (head, *body)))
    yield f"{head.ljust(width)}  why"
    left = room
    for number, (plugin, line) in enumerate(zip(ordered, body, strict=True)):
        if left is not None and left < 2 and plugin.well:
            yield f"and {len(ordered) - number} more, with which nothing is wrong (--all shows them)"
            return
        why = escaped(plugin.reason)
        fits = width + 2 + len(why) <= columns
        shown = [f"{line.ljust(width)}  {why}".rstrip() if fits else line]
        if not fits and room is None:
            shown.append(f"    {why}")
        error = plugin.restarting or plugin.error
        if error and (room is None or not plugin.well):
            again = f" (asked again in {plugin.asked_again_in:.0f} s)" if plugin.asked_again_in else ""
            shown += folded(f"{plugin.plugin}: {escaped(error)}{again}", columns)
        yield from shown
        left = None if left is None else left - len(shown)


def told(journal: JournalStatus) -> str:
    """Return how the journal is, in a line."""
    if journal.error:
        state = f"NOTHING CAN BE WRITTEN DOWN: {escaped(journal.error)}"
    else:
        state = "on disk" if journal.durable else "in memory only"
    lost = [f"{number} {what}" for number, what in ((journal.dropped, "lost"), (journal.damaged, "damaged")) if number]
    return ", ".join([state, f"last event {journal.last}", mebibytes(journal.size_bytes), *lost])


def mebibytes(size: float) -> str:
    """Return a size for people."""
    return f"{size / (1 << 20):.1f} MiB"


def folded(text: str, columns: int) -> list[str]:
    """Return a text as lines that fit, all but the first indented."""
    if len(text) <= columns:
        return [text]
    indent = " " * (4 + len(text) - len(text.lstrip()))
    return textwrap.wrap(text, columns, subsequent_indent=indent, break_on_hyphens=False)

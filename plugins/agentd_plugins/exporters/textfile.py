"""Writes all metrics to a file at an interval, for whoever reads files: another agent's textfile collector, say."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from agentd.plugin import Config, Duration, Exporter, Family, counter, gauge, hookimpl
from agentd_plugins._files import could_replace

HEADING = "# Written by agentd, process {}; its own collector textfile leaves this file alone.\n"


class TextfileConfig(Config):
    """Options of the textfile exporter."""

    path: Annotated[str, Meta(examples=["/var/lib/agentd/metrics.prom"])]
    """The file to write, its name ending in ".prom". Readers see the old file or the new one, never half of one."""
    interval: Duration = Duration(15)
    """Time between two writes."""

    def __post_init__(self) -> None:
        wrong = []
        if not self.path.endswith(".prom"):
            wrong.append(f'path must end in ".prom", or no textfile collector will read it; found "{self.path}"')
        if self.interval < 1:
            wrong.append("interval must be at least 1s")
        if wrong:
            raise ValueError("; ".join(wrong))


class Textfile(Exporter[TextfileConfig]):
    """Pushes snapshots into a file in the Prometheus text format, with the labels of the agent."""

    name = "textfile"

    writes = counter("agentd_exporter_writes_total", "Snapshots that were written out.", ("plugin",))
    errors = counter("agentd_exporter_write_errors_total", "Snapshots that could not be written out.", ("plugin",))
    last = gauge(
        "agentd_exporter_last_write_timestamp_seconds", "When a snapshot was last written, since 1970.", ("plugin",)
    )

    _task: asyncio.Task[None] | None = None
    _written = 0
    _failed = 0
    _last: float | None = None
    _error = ""

    async def start(self) -> None:
        """Begin to write at the interval."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self.context.name)

    async def probe(self) -> str:
        """See whether the file could be written."""
        return await self.in_worker(could_replace, Path(self.config.path))

    async def stop(self) -> None:
        """Stop writing. The file stays as it is."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def about(self) -> Iterable[Family]:
        """Return how often it was written, and how often in vain."""
        plugin = (self.context.name,)
        yield self.writes({plugin: float(self._written)})
        yield self.errors({plugin: float(self._failed)})
        if self._last is not None:
            yield self.last({plugin: self._last})

    async def _run(self) -> None:
        while True:
            await self._once()
            await asyncio.sleep(self.config.interval)

    async def _once(self) -> None:
        try:
            snapshot = await self.gather(deadline=min(10.0, self.config.interval))
            body = await self.render(snapshot, labels=self.context.labels)
            await self.in_worker(write_atomically, Path(self.config.path), HEADING.format(os.getpid()).encode() + body)
        except Exception as error:  # noqa: BLE001  # whatever fails now may work the next time
            self._failed += 1
            why = error.strerror if isinstance(error, OSError) else None
            text = f"cannot write {self.config.path}: {why or f'{type(error).__name__}: {error}'}"
            if text != self._error:  # said once, not every 15 seconds
                self.log.error("%s", text)
            self._error = text
        else:
            if self._error:
                self.log.info("writes %s again", self.config.path)
            self._written, self._last, self._error = self._written + 1, snapshot.timestamp, ""


def write_atomically(path: Path, body: bytes) -> None:
    """Put a file in its place as a whole, readable by everybody. Raises ``OSError``, and then leaves nothing behind."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(body)
            os.fchmod(descriptor, 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


@hookimpl
def agentd_exporters() -> list[type[Textfile]]:
    """Register the exporter."""
    return [Textfile]

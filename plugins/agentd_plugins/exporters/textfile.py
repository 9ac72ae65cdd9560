"""Writes all metrics to a file at an interval, for whoever reads files: another agent's textfile collector, say."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from agentd.plugin import Config, Exporter, Snapshot, hookimpl
from agentd_plugins._files import could_replace

HEADING = "# Written by agentd, process {}; its own collector textfile leaves this file alone.\n"


class TextfileConfig(Config):
    """Options of the textfile exporter."""

    path: Annotated[str, Meta(examples=["/var/lib/agentd/metrics.prom"])]
    """The file to write, its name ending in ".prom". Readers see the old file or the new one, never half of one."""

    def __post_init__(self) -> None:
        if not self.path.endswith(".prom"):
            raise ValueError(f'path must end in ".prom", or no textfile collector will read it; found "{self.path}"')


class Textfile(Exporter[TextfileConfig]):
    """Writes snapshots into a file in the Prometheus text format, with the labels of the agent. The file stays when it
    is stopped.
    """

    name = "textfile"

    async def probe(self) -> str:
        """See whether the file could be written."""
        return await self.in_worker(could_replace, Path(self.config.path))

    async def export(self, snapshot: Snapshot) -> None:
        """Write the file anew."""
        body = await self.render(snapshot, labels=self.context.labels)
        try:
            await self.in_worker(write_atomically, Path(self.config.path), HEADING.format(os.getpid()).encode() + body)
        except OSError as error:  # it may name the new file, which has another name each time
            raise OSError(error.errno, error.strerror, self.config.path) from error


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

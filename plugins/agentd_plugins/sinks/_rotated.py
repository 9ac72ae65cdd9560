"""The rotated files of the sink file: "PATH.000001", or "PATH.000001.gz" once it is compressed, and so on upwards.

Numbers, as a clock may be wrong; growing ones, as whoever reads a file can go on under the same name.
"""

import gzip
import os
import re
import stat
import threading
from pathlib import Path

CHUNK = 1 << 18


class Rotated:
    """Gives files numbers, compresses them and removes the oldest. All of it blocks."""

    def __init__(self, path: Path, keep: int, *, compress: bool) -> None:
        self.untidy = True
        """Whether there may be something to compress or to remove; an earlier life may have left it."""
        self.ending = threading.Event()
        """Set where compressing is to end at once."""
        self._path = path
        self._keep = keep
        self._compress = compress
        self._pattern = re.compile(re.escape(path.name) + r"\.([0-9]{6,})(\.gz|\.gz\.part)?")

    def add(self) -> None:
        """Give the file at the path the next free number."""
        number = max(self._found(), default=0) + 1
        self._path.rename(f"{self._path}.{number:06d}")
        self.untidy = True

    def tidy(self) -> None:
        """Remove the oldest files and compress the others. What a kill interrupts is begun anew the next time."""
        self.untidy = False
        found = self._found()
        for number in sorted(found)[: -self._keep]:
            for path in found.pop(number):
                path.unlink(missing_ok=True)
        for number in sorted(found) if self._compress else ():
            for path in found[number]:
                if path.suffix not in (".gz", ".part") and not self.ending.is_set():
                    self._shrink(path)

    def _found(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for name in os.listdir(self._path.parent):
            if match := self._pattern.fullmatch(name):
                found.setdefault(int(match[1]), []).append(self._path.parent / name)
        return found

    def _shrink(self, path: Path) -> None:
        # At any moment, the file or the compressed one is there as a whole, with a power cut too.
        part = Path(f"{path}.gz.part")
        try:
            with open(path, "rb") as source, open(part, "wb") as target:
                os.fchmod(target.fileno(), stat.S_IMODE(os.fstat(source.fileno()).st_mode))
                with gzip.GzipFile(path.name, "wb", 6, target) as packed:
                    while (data := source.read(CHUNK)) and not self.ending.is_set():
                        packed.write(data)
                target.flush()
                os.fsync(target.fileno())
            if self.ending.is_set():
                return
            part.rename(f"{path}.gz")
            sync_folder(path.parent)
            path.unlink()
        finally:
            part.unlink(missing_ok=True)  # it may have filled the disk


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The journal's file over time: opened, glanced at, set aside where it is of no use, written anew where it is gone."""

import contextlib
import errno
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agentd.store import database
from agentd.store.salvage import Salvaged, salvage

log = logging.getLogger(__name__)


REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
"""Codes of SQLite for a file or a directory that may not be written to."""


class Aside(NamedTuple):
    """A database that was set aside, and why."""

    path: Path | None
    """Where it is now; None where it had been removed."""
    reason: str
    salvaged: Salvaged | None
    """What could be saved from it; None where the open connection had all, and that is in the new file."""


class File:
    """One database, or one in memory where there is no path, and the connection by which it is written to."""

    def __init__(
        self,
        path: Path | None,
        log_size: int,
        anew: Callable[[int], None],
        found: Callable[[sqlite3.Connection], None],
        settle: Callable[[], None],
    ) -> None:
        """``log_size`` is how many bytes the write-ahead log should have at most; ``anew`` is called with the highest
        number that a lost database had, before the new one takes any; ``found`` with every database that is
        opened or glanced at; ``settle`` when its directory may have been made anew.
        """
        self.path = path
        self.connection: sqlite3.Connection | None = None
        self.using = threading.Lock()
        """Held while the connection is used: one in memory serves readers, too."""
        self.opened = 0
        """How often a database was opened: readers open theirs anew when this changes."""
        self.aside: list[Aside] = []
        """What was set aside and nobody was told of yet."""
        self._anew = anew
        self._found = found
        self._log_size = log_size
        self._settle = settle
        self._begun = False
        self._places: list[tuple[int, int] | None] = []

    @property
    def moved(self) -> bool:
        """Whether the open database is no longer at its name, or its write-ahead log is not: it was removed, say.

        What is written then is lost with the connection. Raises ``OSError`` where that cannot be found out.
        """
        if self.path is None or self.connection is None:
            return False
        now = database.places(self.path)
        return any(was is not None and was != place for was, place in zip(self._places, now, strict=True))

    def ready(self) -> sqlite3.Connection:
        """Return the connection, to a file that is at its name. Raises what the disk raises."""
        if self.connection is None:
            return self.open()
        return self._restore(self.connection) if self.moved else self.connection

    def open(self) -> sqlite3.Connection:
        """Open the database, a new one where there is none or it cannot be used. Raises what the disk raises."""
        if self.path is not None and not database.begun(self.path) and not self._begun:
            self._anew(0)
            self._begun = True
        try:
            connection = database.connect(self.path, self._log_size)
        except database.UnusableError as error:
            return self.set_aside(str(error))
        return self._use(connection)

    def glance(self) -> None:
        """Find out what is in a database that cannot be opened for writing now."""
        if self.path is not None:
            with (
                contextlib.suppress(*database.ERRORS, OSError),
                contextlib.closing(database.glance(self.path)) as found,
            ):
                self._found(found)

    def advice(self, error: Exception) -> str:
        """Return what to do about an error, to stand behind it; nothing where that is not known.

        Others than this machine are told, too: it names no paths.
        """
        number = error.errno if isinstance(error, OSError) else None
        if database.code(error) == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
            what = "make room on the disk of the state directory"
        elif database.code(error) in REFUSED or number in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = "let the agent's user write to the state directory"
        elif database.code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            what = "end the program that has the journal open"
        else:
            return ""
        with contextlib.suppress(OSError):
            if self.moved:
                what += ", for the whole journal: it was removed or replaced, and is written anew"
        return f"; {what}"

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self.using:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.close()

    def shorten(self) -> None:
        """Make the write-ahead log empty where it is too long, because somebody read whenever it could have been."""
        if self.path is not None and self.connection is not None:
            with contextlib.suppress(FileNotFoundError):
                if database.beside(self.path, "-wal").stat().st_size > 2 * self._log_size:
                    database.checkpoint(self.connection)

    def set_aside(self, reason: str) -> sqlite3.Connection:
        """Begin a new file with what can be saved of the present one, and put that away. Raises what the disk raises.

        Until the new one is complete, nothing happens to the old.
        """
        assert self.path is not None  # noqa: S101  # nothing in memory is ever damaged
        with contextlib.suppress(sqlite3.Error):
            self.close()
        saved = salvage(self.path)
        new = database.beside(self.path, ".new")
        database.remove(new)
        with contextlib.closing(database.connect(new, self._log_size)) as connection, database.transaction(connection):
            saved.restore(connection)
        self._anew(saved.highest)
        aside = database.replace(self.path, new)
        log.error("journal: %s was set aside as %s: %s; a new one is begun with %s",
                  self.path, aside.name, reason, saved)  # fmt: skip
        self.aside.append(Aside(aside, reason, saved))
        return self._use(database.connect(self.path, self._log_size))

    def _restore(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Write a new file with all that the connection still has. Until that is at its name, the connection stays."""
        assert self.path is not None  # noqa: S101  # nothing in memory was ever moved
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._settle()
        new = database.beside(self.path, ".new")
        database.copy(connection, new)
        aside = None
        (present, log_), (ours, our_log) = database.places(self.path), self._places
        if present in (None, ours):
            database.put_in_place(new, self.path)
            reason = "it was removed while it was in use"
        else:
            aside = database.replace(self.path, new, () if log_ == our_log else database.COMPANIONS)
            reason = "another file had taken its place"
        log.error("journal: %s: %s%s; it was written anew with all that it had",
                  self.path, reason, f", and is {aside.name} now" if aside else "")  # fmt: skip
        self.aside.append(Aside(aside, reason, None))
        with contextlib.suppress(sqlite3.Error):
            self.close()  # not before: it alone had all. And not after: it would remove the new one's log by its name
        return self._use(database.connect(self.path, self._log_size))

    def _use(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            self._found(connection)
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        self._places = database.places(self.path) if self.path is not None else []
        self.opened += 1
        return connection

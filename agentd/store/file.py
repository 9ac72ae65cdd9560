"""The journal's file over time: opened, glanced at where it cannot be, and set aside where it is of no use."""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agentd.store import database
from agentd.store.salvage import Salvaged, salvage

log = logging.getLogger(__name__)


class Aside(NamedTuple):
    """A database that was set aside, and why."""

    path: Path
    reason: str
    salvaged: Salvaged


class File:
    """One database, or one in memory where there is no path, and the connection by which it is written to."""

    def __init__(
        self, path: Path | None, anew: Callable[[int], None], found: Callable[[sqlite3.Connection], None]
    ) -> None:
        """``anew`` is called with the highest number that a lost database had, before the new one takes any; ``found``
        with every database that is opened or glanced at.
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
        self._begun = False

    def open(self) -> sqlite3.Connection:
        """Open the database, a new one where there is none or it cannot be used. Raises what the disk raises."""
        if self.path is not None and not database.begun(self.path) and not self._begun:
            self._anew(0)
            self._begun = True
        try:
            connection = database.connect(self.path)
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

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self.using:
            connection, self.connection = self.connection, None
            if connection is not None:
                connection.close()

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
        with contextlib.closing(database.connect(new)) as connection, database.transaction(connection):
            saved.restore(connection)
        self._anew(saved.highest)
        aside = database.replace(self.path, new)
        log.error("journal: %s was set aside as %s: %s; a new one is begun with %s",
                  self.path, aside.name, reason, saved)  # fmt: skip
        self.aside.append(Aside(aside, reason, saved))
        return self._use(database.connect(self.path))

    def _use(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            self._found(connection)
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        self.opened += 1
        return connection

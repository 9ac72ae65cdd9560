"""Asks psutil for what this system may not have, or may not let this user see."""

import logging
from collections.abc import Callable
from typing import Any

import psutil


class Reader:
    """Calls functions of psutil by their names, and remembers which ones failed: each is named in the log once."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._failed: set[str] = set()

    def ask(self, function: str, **arguments: Any) -> Any:
        """Return what psutil answers; None where this system has no such function, or it fails."""
        call: Callable[..., Any] | None = getattr(psutil, function, None)
        if call is None:
            return None
        try:
            return call(**arguments)
        except (psutil.Error, OSError, NotImplementedError, RuntimeError, ValueError) as error:
            if function not in self._failed:
                self._failed.add(function)
                self._log.warning("psutil.%s cannot be had and is left out: %s", function, error)
            return None


def number(structure: object, field: str) -> float | None:
    """Return a field of one of psutil's structures; None where it does not have it on this system."""
    value = getattr(structure, field, None)
    return float(value) if isinstance(value, int | float) else None

"""Watches a plugin's code on the event loop: for how long it holds the loop, and which calls it makes that may wait.

Python tells of calls that leave it by its audit events (PEP 578). A hook for these cannot be taken away again; the one
that is added here, once in a process, looks at nothing but a context variable while nobody watches.
"""

import contextlib
import ipaddress
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, SupportsIndex, TypeVar

from agentd.metrics.spending import Spending

T = TypeVar("T")

OPENS = frozenset({"start", "stop", "leave", "construct"})
"""What may open files on the loop: there is no agent yet, or no more, that would have to wait long."""

_ALWAYS = ("/proc", "/sys", "/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")
_OWN = str(Path(__file__).parents[2]) + os.sep
_LIBRARY = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
_PACKAGES = ("site-packages", "dist-packages")
_READERS = ("<frozen importlib", "linecache.py", "warnings.py", "tokenize.py")
"""Who reads source files for Python itself."""
_WAITING = frozenset({"run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"})
"""Functions of ``subprocess`` that wait for the end of what they start."""

_watching: ContextVar["Watch | None"] = ContextVar("watching", default=None)


def unhindered() -> float:
    """Return seconds that go on while this thread runs or sleeps, and not while it waits for a processor.

    Linux tells that in field 2 of /proc/thread-self/schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst
    of the kernel). Elsewhere it is the clock on the wall.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            waited = int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited = 0.0
    return time.perf_counter() - waited


class Watch(Spending):
    """Measures each step that a plugin's coroutines and calls take on the loop: the task factory of that loop."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """``allowed`` are the folders whose files the kernel makes up, beside ``/proc`` and ``/sys``."""
        super().__init__()
        _listen()
        self.phase = ""
        """What the plugin is asked for now."""
        self.longest: dict[str, float] = {}
        """The longest step of each phase, in seconds, since ``longest`` was last cleared."""
        self.calls: dict[tuple[str, str], str] = {}
        """What was called that may wait: by phase and place, in words."""
        self._allowed = (*allowed, *_ALWAYS)
        self._thread = threading.get_ident()

    def step(self, key: str, take: Callable[..., T], *arguments: object) -> T:
        """Return what a step returns, and note how long it took."""
        begun = unhindered()
        token = _watching.set(self)
        try:
            return take(*arguments)
        finally:
            _watching.reset(token)
            took = unhindered() - begun
            self.longest[self.phase] = max(took, self.longest.get(self.phase, 0.0))

    @contextlib.contextmanager
    def hearing_sleep(self) -> Iterator[None]:
        """Have Python tell of ``time.sleep``, too, which it does by itself from 3.13 on."""
        if sys.version_info >= (3, 13):
            yield
            return
        sleep = time.sleep

        def told(seconds: float | SupportsIndex) -> None:
            sys.audit("time.sleep", seconds)
            sleep(seconds)

        time.sleep = told
        try:
            yield
        finally:
            time.sleep = sleep

    def hear(self, event: str, arguments: Sequence[Any]) -> None:
        """Note a call, if it may wait. Called for every audit event while a step is taken."""
        if threading.get_ident() != self._thread or (judge := _JUDGES.get(event)) is None:
            return
        what = judge(self, arguments)
        if what and not (event in _FILES and self.phase in OPENS):
            place = _place(sys._getframe(2), event)  # noqa: SLF001  # documented, if specific to CPython
            if place:
                self.calls.setdefault((self.phase, place), what)

    def on_disk(self, arguments: Sequence[Any]) -> str:
        """Say what is opened, if it is not one of the kernel's files."""
        path = arguments[0] if arguments and arguments[0] is not None else "."
        if isinstance(path, int):
            return ""
        path = os.path.abspath(os.fsdecode(path))
        if path.startswith(tuple(f"{folder}/" for folder in self._allowed)) or path in self._allowed:
            return ""
        return f"opens {path}"


def _sleep(_watch: Watch, arguments: Sequence[Any]) -> str:
    return f"calls time.sleep({arguments[0]!r})" if arguments[0] > 0 else ""


def _connect(_watch: Watch, arguments: Sequence[Any]) -> str:
    made, address = arguments[:2]
    waits = made.family in (socket.AF_INET, socket.AF_INET6) and made.gettimeout() != 0
    return f"connects a socket to {address} and waits for it" if waits else ""


def _resolve(_watch: Watch, arguments: Sequence[Any]) -> str:
    host = arguments[0] if arguments else None
    text = host.decode("latin-1") if isinstance(host, bytes) else host
    if not isinstance(text, str) or not text:
        return ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f"asks for the address of {text!r}"
    return ""


def _database(watch: Watch, arguments: Sequence[Any]) -> str:
    return "" if str(arguments[0]).startswith((":memory:", "file::memory:")) else f"opens the database {arguments[0]}"


def _process(_watch: Watch, arguments: Sequence[Any]) -> str:
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  # documented, if specific to CPython
    while frame is not None and "subprocess" in frame.f_code.co_filename:
        if frame.f_code.co_name in _WAITING:
            return f"runs {arguments[0]} and waits for its end"
        frame = frame.f_back
    return ""


def _system(_watch: Watch, arguments: Sequence[Any]) -> str:
    return f"runs {arguments[0]!r} and waits for its end"


_JUDGES: Mapping[str, Callable[[Watch, Sequence[Any]], str]] = {
    "time.sleep": _sleep,
    "socket.connect": _connect,
    "socket.getaddrinfo": _resolve,
    "socket.gethostbyname": _resolve,
    "socket.gethostbyaddr": _resolve,
    "open": Watch.on_disk,
    "os.listdir": Watch.on_disk,
    "os.scandir": Watch.on_disk,
    "sqlite3.connect": _database,
    "subprocess.Popen": _process,
    "os.system": _system,
}
_FILES = frozenset({"open", "os.listdir", "os.scandir", "sqlite3.connect"})


def _place(frame: FrameType | None, event: str) -> str:
    """Return where a plugin makes a call, or nothing where Python itself makes it, to read a module, say."""
    places = []
    while frame is not None:
        file = frame.f_code.co_filename
        if event in _FILES and (file.startswith(_READERS) or file.endswith(_READERS)):
            return ""
        places.append((file, f"{file}:{frame.f_lineno}, in {frame.f_code.co_name}"))
        frame = frame.f_back
    foreign = [each for each in places if not each[0].startswith((_OWN, "<frozen")) and not _is_library(each[0])]
    return next((where for _, where in foreign), places[0][1])


def _is_library(file: str) -> bool:
    return file.startswith(_LIBRARY) or any(name in file for name in _PACKAGES)


@cache
def _listen() -> None:
    """Add the hook, once."""
    watching, suppressed = _watching.get, contextlib.suppress  # kept: at the very end of Python there are no globals

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        watch = watching()
        if watch is not None:
            with suppressed(Exception):  # what a hook raises would fail the plugin's call
                watch.hear(event, arguments)

    sys.addaudithook(hook)

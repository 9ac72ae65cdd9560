"""The program from which all children are forked: it has imported what every plugin imports, and runs nothing else.

Children share its memory as long as neither writes to it. It has no threads, so that a fork is safe, and does three
things: it begins a child when the agent asks for one, it tells how each ended, and it ends all of them with the agent.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PASSED = 4
"""Descriptors that come with a request: the child's socket, its standard output and error, where to tell its end."""

OWN = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Variables by which systemd speaks with the agent alone."""

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(descriptor: int) -> NoReturn:
    """Serve the agent at the other end of a socket until it is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # systemd sends these to every process of the unit
        signal.signal(number, signal.SIG_IGN)  # in children, too, until they have handlers of their own
    for name in OWN:
        os.environ.pop(name, None)
    gc.disable()  # what it would free leaves holes, which children would fill, each for itself
    _rehearse()
    gc.freeze()
    Template(socket.socket(fileno=descriptor)).run()


def _rehearse() -> None:
    """Do once what each child does: what Python remembers of running code is then shared, and not each child's own."""
    import agentd.plugin
    from agentd.isolation import child

    class Rehearsal(agentd.plugin.Collector[agentd.plugin.Config]):
        """Tells a little."""

        name = "rehearsal"

        def collect(self) -> list[agentd.plugin.Family]:
            return [agentd.plugin.Family.gauge("rehearsal", "Rehearsal.", {"a": 1.0}, ("b",))]

    _die_with_parent(0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = child.Link(theirs)
        one = child.Child(link, agentd.plugin)
        one.rehearse(Rehearsal, child.Link(ours))
    source = Path(__file__).with_name("source.py")
    child.load_file("agentd_rehearsal", str(source))
    compile(source.read_bytes(), str(source), "exec", dont_inherit=True)


class Template:
    """Begins children, and knows which there are."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._ends: dict[int, int] = {}

    def run(self) -> NoReturn:
        """Serve until the agent is gone; then end all children."""
        import select

        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._agent.fileno(), woken], [], [])
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                self._reap()
            if self._agent.fileno() in ready and not self._serve((woken, wake)):
                break
        for pid in self._ends:
            kill_all(pid)
        os._exit(0)

    def _serve(self, own: Sequence[int]) -> bool:
        """Begin a child, and say which process it is; return whether the agent is still there."""
        data, descriptors, _, _ = socket.recv_fds(self._agent, 1 << 16, PASSED)
        if not data:
            return False
        try:
            pid = os.fork()
        except OSError as error:
            answer: dict[str, Any] = {"error": error.strerror}
            os.close(descriptors.pop())
        else:
            os.setpgid(pid, pid)  # a group of its own, which is ended with it: in both, whichever comes first
            if pid == 0:
                begin(json.loads(data), descriptors, [self._agent.fileno(), *own, *self._ends.values()])
            self._ends[pid] = descriptors.pop()
            answer = {"pid": pid}
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self._agent.send(json.dumps(answer).encode())
        return True

    def _reap(self) -> None:
        while self._ends:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            kill_all(pid)  # what it has begun goes with it
            end = self._ends.pop(pid, None)
            if end is not None:
                told = {"status": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime}
                with contextlib.suppress(OSError):
                    os.write(end, json.dumps(told).encode())
                os.close(end)


def kill_all(pid: int) -> None:
    """End the process group of a child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def begin(request: Mapping[str, Any], descriptors: Sequence[int], foreign: Sequence[int]) -> NoReturn:
    """Become the child that is asked for."""
    connection = socket.socket(fileno=descriptors[0])
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent(signal.SIGKILL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(descriptors[1], 1)
        os.dup2(descriptors[2], 2)
        for descriptor in (nothing, *foreign, *descriptors[1:]):
            os.close(descriptor)
        _limit(request["memory"])
        if request["python"] is None:
            _run(connection)
        command = [request["python"], "-c", _SCRIPT, request["child"], str(connection.fileno())]
        connection.set_inheritable(True)
        os.execv(request["python"], command)  # noqa: S606  # no shell, which would change the arguments
    except BaseException as error:  # noqa: BLE001  # nobody else could tell
        os.write(2, f"{request['python'] or 'it'} cannot be begun: {error}\n".encode())
    os._exit(127)


_SCRIPT = "import sys; sys.path[:1] = []; exec(compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec'))"
"""Runs a file without putting its folder onto ``sys.path``, where its neighbours would stand before other modules."""


def _run(connection: socket.socket) -> NoReturn:
    from agentd.isolation import child

    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for all of its life
    sys.path[:] = [each for each in sys.path if each]
    gc.enable()
    child.main(connection)
    os._exit(0)


def _limit(memory: int | None) -> None:
    # The unit's filter knows prlimit(2), and refuses setrlimit(2).
    resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))  # in which secrets would lie
    if memory is not None:
        resource.prlimit(0, resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as file:
        # Where memory is short a child goes before the agent does.
        score = int(file.read())
        file.seek(0)
        file.write(str(min(1000, score + 200)))


def _die_with_parent(number: int) -> None:
    """Have the kernel send a signal when the parent ends; where it cannot, the end of the agent's socket says it."""
    with contextlib.suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, number)

"""The template from which children are forked, and what becomes of them when somebody is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentd.isolation.launcher import Launch
from agentd.isolation.wire import frame
from tests.isolation.conftest import COLLECTOR, interpreters, until


def alive(pid):
    """Say whether a process runs; one that has ended and was not looked after does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(so):
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_children_are_forked_from_one_template(launcher):
    """All children have one parent, whose modules they share, and it has no threads."""
    children = [launcher.launch(Launch()) for _ in range(3)]
    parents = {Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[1] for child in children}
    assert parents == {str(launcher.pid)}
    assert os.listdir(f"/proc/{launcher.pid}/task") == [str(launcher.pid)]
    for child in children:
        child.close()


def test_children_end_when_nobody_speaks_with_them(launcher):
    """A child whose socket is closed ends."""
    child = launcher.launch(Launch())
    assert alive(child.pid)
    child.close()
    wait_until(lambda: not alive(child.pid))


def test_children_have_no_files_of_others(launcher):
    """A child has its own socket and pipes, and none of the template's or of another child."""
    children = [launcher.launch(Launch()) for _ in range(3)]

    def sockets(pid):
        links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
        return {link for link in links if link.startswith(("socket:", "pipe:"))}

    for child in children:  # whoever answers has closed what is not its own
        child.connection.sendall(frame({"id": 1, "do": "nothing"}))
        assert b"AttributeError" in child.connection.recv(1000)
    first, second, third = (sockets(child.pid) for child in children)
    assert len(first) == 5  # standard output and error, the agent's socket, and the two of the event loop
    assert not first & second
    assert not second & third
    for child in children:
        child.close()


PROGRAM = """
import os, signal, time
from agentd.isolation.launcher import Launch, Launcher
launcher = Launcher()
child = launcher.launch(Launch())
deaf = launcher.launch(Launch())
print(child.pid, deaf.pid, launcher.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_children_end_with_the_agent(stopped):
    """When the agent is killed, all children end, also one that does not read, and the template."""
    agent = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    with agent:
        pids = list(map(int, agent.stdout.readline().split()))
        assert all(map(alive, pids))
        if stopped:
            os.kill(pids[1], signal.SIGSTOP)  # it cannot see that the agent is gone
        agent.kill()
    wait_until(lambda: not any(map(alive, pids)))


async def test_children_come_back_when_the_template_is_killed(standing, launcher):
    """Children end with the template, and a new one is begun with the first of them."""
    plugin = standing(COLLECTOR.format("return [Family.gauge('a', 'A.', 1.0)]"))
    await plugin.start()
    before = launcher.pid
    os.kill(before, signal.SIGKILL)
    await until(lambda: plugin.keeper.restarts and plugin.keeper.process is not None)
    assert launcher.pid != before
    assert len(await plugin.collect()) == 1


@pytest.mark.parametrize("version", [None, *interpreters()])
async def test_environment_of_the_service_is_kept_from_children(standing, monkeypatch, version):
    """A child cannot speak with systemd in the agent's name, and has what else the agent was given."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    body = (
        "return [Family.gauge('a', 'A.', {n: 1.0 for n in ('NOTIFY_SOCKET', 'ROS_DISTRO') if n in os.environ}, ('n',))]"
    )
    plugin = standing(COLLECTOR.format(body), python=interpreters().get(version))
    await plugin.start()
    (family,) = await plugin.collect()
    assert set(family.samples) == {("ROS_DISTRO",)}

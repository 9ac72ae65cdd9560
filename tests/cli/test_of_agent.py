"""Which configuration a command reads on the word of an agent, that may have fewer rights than whoever asks."""

import json
import os
import socket
import threading

import pytest

from agentd.cli.loading import only_ours

PLUGIN = """
from pathlib import Path
Path({marker!r}).write_text("run")
"""


@pytest.fixture
def says(tmp_path):
    """Answers in an agent's place, on its socket, that it goes by a file; returns the environment of who asks there."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agentd.sock"))
        listening.listen()

        def answer(body):
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + body)

        def begin(file):
            status = {"version": "1", "pid": os.getpid(), "started_at": 0.0, "uptime_seconds": 1.0, "ready": True}
            status |= {"listen": [], "config_files": [str(file)], "state_directory": str(tmp_path)}
            status |= {"plugins": [], "disabled": {}}
            body = json.dumps(status).encode()
            threading.Thread(target=answer, args=(body,), daemon=True).start()
            return {"RUNTIME_DIRECTORY": str(tmp_path)}

        yield begin
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("arguments", [("doctor",), ("explain", "node_load1"), ("bundle", "x.tar.gz")])
@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_plugins_of_others_are_not_run_on_the_word_of_an_agent(command, says, tmp_path, arguments, mode):
    """An agent that somebody has taken over cannot have root run a plugin, by naming a configuration of its own."""
    folder, marker = tmp_path / "theirs", tmp_path / "marker"
    folder.mkdir()
    (folder / "plugin.py").write_text(PLUGIN.format(marker=str(marker)))
    file = folder / "agentd.toml"
    file.write_text(f'[agent]\nplugin_dirs = ["{folder}"]\n')
    folder.chmod(mode)
    result = command(*arguments, environment=says(file))
    assert marker.exists() == (mode == 0o755), result.stderr
    assert ("name it with --config" in result.stderr) == (mode == 0o777)


def test_what_is_only_ours(tmp_path, monkeypatch):
    """A file counts where neither it nor a folder above it can be changed by others; links count with their targets."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    file = folder / "agentd.toml"
    file.write_text("")
    file.chmod(0o644)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert only_ours(file)
    assert only_ours(link)
    for place, mode in ((file, 0o646), (folder, 0o757)):
        before = place.stat().st_mode
        place.chmod(mode)
        assert not only_ours(file)
        assert not only_ours(link)
        place.chmod(before & 0o7777)
    folder.chmod(0o1777)
    assert only_ours(file), "as in /tmp: what is in there is its owner's"
    file.chmod(0o664)
    assert only_ours(file), "the group is that of who asks"
    assert not only_ours(tmp_path / "none.toml")
    assert not only_ours(folder / ".." / "folder" / "agentd.toml")
    monkeypatch.chdir(folder)
    assert not only_ours(file.relative_to(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_not_ours(tmp_path):
    """What another user owns can be changed by that one at any time, whatever its mode; so can what a group writes."""
    file = tmp_path / "agentd.toml"
    file.write_text("")
    os.chown(file, 65534, 0)
    assert not only_ours(file)
    os.chown(file, 0, 65534)
    file.chmod(0o664)
    assert not only_ours(file)
    file.chmod(0o644)
    assert only_ours(file)


def test_a_file_that_was_named_without_its_folder(start_agent, command):
    """An agent that was given a relative path says where the file is, whoever asks from wherever."""
    agent = start_agent(arguments=("--config", "./agentd.toml"))
    assert json.loads(agent.get("/api/v1/status").body)["config_files"] == [str(agent.folder / "agentd.toml")]
    done = command("explain", "node_load1", environment=agent.environment)
    assert "name it with --config" not in done.stderr
    assert done.returncode == 0, done.stderr

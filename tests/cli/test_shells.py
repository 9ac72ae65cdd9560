"""Completion in real shells, from the files that packages install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPLETIONS = Path(__file__).parents[2] / "etc" / "completions"

PROGRAMS = {
    "bash": f"""
        source {COMPLETIONS}/agentd.bash
        COMP_WORDS=(agentd plug) COMP_CWORD=1
        _agentd_completion agentd
        echo "${{COMPREPLY[@]}}"
    """,
    "fish": f"source {COMPLETIONS}/agentd.fish; complete --do-complete 'agentd plug'",
    # The function that shows what was found is replaced: there is no terminal to show it on.
    "zsh": f"""
        fpath=({COMPLETIONS} $fpath)
        autoload -Uz _agentd
        compdef() {{ : }}
        _describe() {{ print -rl -- "${{(P@)2}}" "${{(P@)3}}" }}
        compadd() {{ print -rl -- "$@" }}
        words=(agentd plug) CURRENT=2
        _agentd
    """,
}


@pytest.mark.parametrize("shell", PROGRAMS)
def test_a_command_is_completed(shell: str, tmp_path: Path) -> None:
    """The file loads the program's own script when it is first asked, and finds the command that begins like this."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed (a Debian package of this name has it)")
    program = tmp_path / "agentd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m agentd "$@"\n')
    program.chmod(0o755)
    arguments = ["-f", "-c"] if shell == "zsh" else ["-c"]
    done = subprocess.run(
        [path, *arguments, PROGRAMS[shell]],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plugins" in done.stdout, done.stderr
    assert "status" not in done.stdout

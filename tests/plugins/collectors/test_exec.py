"""The collector exec: real programs, well behaved and otherwise."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.metrics.gather import Gatherer
from agentd.metrics.slot import Slot
from agentd.metrics.workers import Workers
from agentd.plugin import Context, Duration, Family, Secret, Size
from agentd_plugins.collectors import _textformat
from agentd_plugins.collectors.exec import Exec, formats
from agentd_plugins.collectors.exec import stream as stream_module
from agentd_plugins.collectors.exec.formats import SERIES, Sample, Samples, labelled, line_of_json, parse
from agentd_plugins.collectors.exec.options import ExecConfig
from agentd_plugins.collectors.exec.program import ProgramError, command_of, located, outcome
from agentd_plugins.collectors.exec.said import LINES, LONGEST, Said

PATIENCE = 60.0
"""Seconds after which a test gives up; no measurement."""


@pytest.fixture(autouse=True)
def first(monkeypatch):
    """Sets for how long a collection waits for what a stream tells first: for as long as a test may take at first."""

    def put(seconds):
        monkeypatch.setattr(stream_module, "FIRST", seconds)

    put(PATIENCE)
    return put


def sh(script, **options):
    """Return the options for a shell script: the shell is the program here."""
    return ExecConfig(command="sh", args=["-c", script], **options)


def py(script, **options):
    """Return the options for a Python script."""
    return ExecConfig(command=sys.executable, args=["-c", script], **options)


def told(collected):
    """Return samples by name and label values."""
    return {(family.name, key): value for family in collected for key, value in family.samples.items()}


@pytest.fixture
async def begin():
    """Makes collectors that are started, and stopped at the end. Nothing may be left of them."""
    begun = []

    async def start(config, **context):
        plugin = Exec(config, Context(name="collectors.mine", **context))
        begun.append(plugin)
        await plugin.start()
        return plugin

    yield start
    for plugin in begun:
        await plugin.stop()
        await plugin.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def until(so):
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end, "it does not become so"
        await asyncio.sleep(0.01)


def runs(pid):
    """Say whether a process is there that is no zombie."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def offspring():
    """Return the processes that any thread of this one has begun, zombies included."""
    return {pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}


@pytest.fixture
def children():
    """Returns the processes that this one has begun since the test began, zombies included."""
    before = offspring()
    return lambda: offspring() - before


# --- once

A = '{"name":"a","value":1}'


@pytest.mark.parametrize(
    ("form", "output", "expected"),
    [
        ("prometheus", '# TYPE a_total counter\na_total{b="c"} 3\nd 4', {("a_total", ("c",)): 3.0, ("d", ()): 4.0}),
        ("openmetrics", "# TYPE a gauge\na 1.5\n# EOF\n", {("a", ()): 1.5}),
        ("json", f'{A}\n\n{{"name":"a","value":2,"labels":{{"b":"c"}}}}', {("a", (None,)): 1.0, ("a", ("c",)): 2.0}),
        ("prometheus", "", {}),
        ("json", "", {}),
    ],
)  # fmt: skip
async def test_each_format_is_told(begin, tmp_path, form, output, expected):
    """What a program writes is told, in the three formats, by the very same collector."""
    (tmp_path / "out").write_text(output)
    plugin = await begin(ExecConfig(command="cat", args=[str(tmp_path / "out")], format=form))
    collected = list(await plugin.collect())
    if form == "openmetrics":
        assert [(each.name, each.samples[0].value, each.documentation) for each in collected] == [
            ("a", 1.5, "Told by the program of collectors.mine.")
        ]
    else:
        assert told(collected) == expected
        assert all(family.help for family in collected)


async def test_a_program_in_c(begin, tmp_path):
    """A compiled program is one as any other."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    (tmp_path / "mine.c").write_text('#include <stdio.h>\nint main(void) { puts("answer 42"); return 0; }\n')
    build = [compiler, "-o", "mine", "mine.c"]
    await asyncio.to_thread(subprocess.run, build, cwd=tmp_path, check=True, timeout=60)
    plugin = await begin(ExecConfig(command="./mine", cwd=str(tmp_path)))
    assert told(await plugin.collect()) == {("answer", ()): 42.0}


async def test_its_environment_is_clean(begin, monkeypatch):
    """It has what is stated and what any program needs, and nothing of the agent's own."""
    monkeypatch.setenv("AGENTD_TEST_TOKEN", "hidden")
    monkeypatch.setenv("AGENTD_TEST_OTHER", "hidden")
    script = "import os; print('\\n'.join(f'{name} 1' for name in os.environ if name != 'LC_CTYPE'))"
    plain = await begin(py(script, env={"MINE": Secret("x")}))
    assert {name for name, _ in told(await plain.collect())} == {"PATH", "HOME", "LANG", "MINE"}
    named = await begin(py(script, inherit_env=["AGENTD_TEST_TOKEN", "NOT_THERE"]))
    assert {name for name, _ in told(await named.collect())} == {"PATH", "HOME", "LANG", "AGENTD_TEST_TOKEN"}
    everything = command_of(py(script, inherit_env=True), os.environ).env
    assert everything.keys() >= {"AGENTD_TEST_TOKEN", "AGENTD_TEST_OTHER"}


async def test_arguments_are_no_shell(begin):
    """Each argument arrives as it is written, and standard input is empty."""
    script = "import sys; print(f'arguments {len(sys.argv) - 1}'); print(f'input {len(sys.stdin.read())}')"
    plugin = await begin(
        ExecConfig(command=sys.executable, args=["-c", script, "a b", "$(id)", "; rm -rf x", "", "*", "'"])
    )
    assert told(await plugin.collect()) == {("arguments", ()): 6.0, ("input", ()): 0.0}


async def test_labels_tell_programs_apart(begin):
    """What the section says is on every sample, in the place of what the program says."""
    plain = await begin(sh("""echo 'a{program="x",b="c"} 1'""", labels={"program": "mine"}))
    assert list(await plain.collect()) == [
        Family("a", "unknown", "Told by the program of collectors.mine.", ("b", "program"), {("c", "mine"): 1.0})
    ]
    other = await begin(sh("printf 'a 1\n# EOF\n'", labels={"program": "mine"}, format="openmetrics"))
    (metric,) = await other.collect()
    assert metric.samples[0].labels == {"program": "mine"}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo a 1; echo 'no device' >&2; exit 3", "sh ended with status 3; it last said: no device"),
        ("kill -SEGV $$", "sh was killed by SIGSEGV"),
        ("exit 1", "sh ended with status 1"),
        ("echo a 1 2 3 4", "line 1"),
        ("echo a 1; printf '\\377\\376\\0 garbage'", "line 2"),
        ("head -c 3000 /dev/urandom", "not understood"),
        ("echo a 1; echo 'users: 3'", "line 2: expected users without a colon behind it, found 'users: 3'"),
    ],
)
async def test_a_failure_says_why(begin, script, says, children):
    """A status that is not 0 and what cannot be understood are failures; nothing of that answer is told."""
    plugin = await begin(sh(script))
    with pytest.raises(ProgramError) as error:
        await plugin.collect()
    assert says in str(error.value)
    await until(lambda: not children())


@pytest.mark.parametrize("form", ["openmetrics", "json"])
@pytest.mark.parametrize("output", ["garbage", '{"name": 3}', '{"name":"a","value":"x"}', "a 1", "{} 1\n# EOF", "[]"])
async def test_garbage_is_a_failure_in_each_format(begin, form, output):
    """Whatever else comes in the place of a format is named."""
    plugin = await begin(ExecConfig(command="echo", args=[output], format=form))
    with pytest.raises(ProgramError, match="its output is not understood"):
        await plugin.collect()


async def test_secrets_are_not_repeated(begin, caplog):
    """What a program repeats of its environment is hidden, in the log and in the error."""
    plugin = await begin(sh("echo token $T is wrong >&2; exit 1", env={"T": Secret("geheim123")}))
    with pytest.raises(ProgramError, match=r"token \*\*\* is wrong"):
        await plugin.collect()
    assert "geheim123" not in caplog.text
    assert "token *** is wrong" in caplog.text


async def test_standard_error_becomes_log_lines(begin, caplog):
    """Each line is one of the log, with the level that it names; no more than one can read."""
    caplog.set_level(logging.DEBUG)
    script = f"echo plain >&2; echo 'E! bad' >&2; echo 'D! small' >&2; seq 1 {LINES * 5} >&2; echo a 1"
    plugin = await begin(sh(script))
    assert told(await plugin.collect()) == {("a", ()): 1.0}
    records = [record for record in caplog.records if record.name == "agentd.collectors.mine"]
    assert [(record.levelname, record.getMessage()) for record in records[:3]] == [
        ("WARNING", "plain"),
        ("ERROR", "bad"),
        ("DEBUG", "small"),
    ]
    assert len(records) == LINES + 1
    assert records[-1].getMessage() == f"and {LINES * 4 + 3} further lines on its standard error"


async def test_a_flood_is_cut_off(begin, children):
    """One that writes without end is killed, whether it does so on its standard output or its standard error."""
    plugin = await begin(ExecConfig(command="yes", args=["a 1"], max_output=Size(10_000)))
    with pytest.raises(ProgramError, match="yes wrote more than 10KB: it was killed"):
        await plugin.collect()
    await until(lambda: not children())
    loud = await begin(sh("yes >&2 & sleep 0.1; echo a 1"))
    assert told(await loud.collect()) == {("a", ()): 1.0}
    await until(lambda: not children())


async def test_what_hangs_is_killed_with_all_that_it_began(begin, tmp_path, caplog, children):
    """At its deadline the whole group is killed: no orphan is left, and no zombie."""
    script = f"echo waiting >&2; (sleep 1000 & echo $! > {tmp_path}/pid; wait) & trap '' TERM; sleep 1000"
    workers, gatherer = Workers(), Gatherer()
    plugin = await begin(sh(script), in_worker=workers.run)
    slot = Slot(plugin, name="mine", workers=workers, timeout=PATIENCE, max_series=10)
    gatherer.take([slot])
    gathering = asyncio.create_task(gatherer.gather(deadline=PATIENCE))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    await until(lambda: plugin._said.last == "waiting")
    plugin.context.deadline = 0.0
    slot._give_up()  # as when its time is over; no machine is too slow for that
    await gathering
    assert slot.last.status == "timed out"
    hint = 'one that is to go on for long wants mode = "stream"'
    said = f"sh was killed, because it had not ended in time; it last said: waiting; {hint}"
    await until(lambda: said in caplog.text)
    grandchild = int((tmp_path / "pid").read_text())
    await until(lambda: not runs(grandchild))
    await until(lambda: not children())
    await gatherer.stop()
    workers.close()


async def test_what_a_program_leaves_behind_ends_with_it(begin, tmp_path, children):
    """A grandchild in its group is killed when the program ends, and does not keep its output open."""
    plugin = await begin(sh(f"sleep 1000 & echo $! > {tmp_path}/pid; echo a 1"))
    assert told(await plugin.collect()) == {("a", ()): 1.0}
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not runs(pid))
    await until(lambda: not children())


async def test_one_that_has_left_the_group_holds_nobody_up(begin, tmp_path):
    """A daemon that a program made of itself keeps its output open: what was written by then is told."""
    plugin = await begin(sh(f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' & sleep 0.2; echo a 1"))
    try:
        assert told(await plugin.collect()) == {("a", ()): 1.0}
    finally:
        await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def test_stopping_kills_what_runs(begin, tmp_path, children):
    """An agent that stops in the middle of a run leaves no process behind."""
    plugin = await begin(sh(f"echo $$ > {tmp_path}/pid; sleep 1000"))
    task = asyncio.create_task(plugin.collect())
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await plugin.stop()
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not runs(pid))
    await until(lambda: not children())


async def test_one_that_nobody_waits_for_any_more_is_killed(begin, children):
    """Where a run is cancelled before its program has begun, it ends as soon as it has."""
    gate = asyncio.Event()

    async def late(function, *args):
        await gate.wait()
        return function(*args)

    plugin = await begin(sh("sleep 1000"), in_worker=late)
    task = asyncio.create_task(plugin.collect())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await until(lambda: not children() and len(asyncio.all_tasks()) == 1)


# --- what cannot be run


@pytest.fixture
def odd(tmp_path):
    """A folder of things that cannot be run."""
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "bare").write_text("echo a 1\n")
    (tmp_path / "bare").chmod(0o755)
    (tmp_path / "orphan").write_text("#!/nowhere/interpreter\n")
    (tmp_path / "orphan").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"command": "agentd-no-such-program"}, "there is no program 'agentd-no-such-program' in /usr/local/sbin:"),
        ({"command": "sh -c 'echo a b'"}, "is -c 'echo a b' meant as its args?"),
        ({"command": "sh -c 'who | wc'"}, "is -c 'who | wc' meant as its args?"),
        ({"command": "who | wc -l"}, 'for one, write command = "sh" and args = ["-c", "who | wc -l"]'),
        (
            {"command": 'echo "$USER'},
            'no shell is involved: for one, write command = "sh" and args = ["-c", "echo \\"$USER"]',
        ),
        ({"command": "./a"}, "there is no program './a' in /, which is its cwd: write the whole path, or set cwd"),
        ({"command": "b/a", "cwd": "{}"}, "there is no program 'b/a' in {}, which is its cwd"),
        ({"command": "{}/nowhere"}, "there is no program '{}/nowhere'"),
        ({"command": "{}"}, "{} is no file that can be run"),
        ({"command": "{}/plain/x"}, "there is no program '{}/plain/x'"),
        ({"command": "{}/plain"}, "{}/plain may not be run by this user (its mode is 0644): chmod +x {}/plain"),
        ({"command": "{}/bare"}, "{}/bare cannot be run: it is no program for this machine"),
        ({"command": "{}/orphan"}, "{}/orphan cannot be run: what its first line names to read it is not there"),
        ({"command": "true", "cwd": "{}/nowhere"}, "its cwd {}/nowhere: No such file or directory"),
        ({"command": "true", "args": ["\0"]}, "embedded null byte"),
    ],
)
async def test_what_cannot_be_run_is_said(begin, odd, options, says):
    """A missing program, and one that may not be run, is an error that says what to do."""
    filled = {key: value.format(odd) if isinstance(value, str) else value for key, value in options.items()}
    plugin = await begin(ExecConfig(**filled))
    with pytest.raises(ProgramError) as error:
        await plugin.collect()
    assert says.format(*[odd] * 3) in str(error.value)


async def test_probe_says_what_would_run(begin, odd):
    """It runs nothing, shows no secret, and raises what a run would raise."""
    config = sh(f"touch {odd}/ran; echo geheim123", env={"T": Secret("geheim123")})
    said = await (await begin(config)).probe()
    assert said.startswith("would run /")
    assert "sh -c 'touch " in said
    assert "geheim123" not in said
    assert "HOME, LANG, PATH, T in its environment" in said
    assert not (odd / "ran").exists()
    with pytest.raises(ProgramError, match="there is no program"):
        await Exec(ExecConfig(command="agentd-no-such-program")).probe()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cwd": "here"}, "from the root on"),
        ({"signal": "stdin"}, 'mode = "stream"'),
        ({"max_output": Size(10)}, "1KiB"),
        ({"max_age": 0.0}, "longer than 0s"),
        ({"env": {"A=B": Secret("x")}}, "no name of a variable"),
    ],
)
def test_options_that_make_no_sense(options, says):
    """They are errors of the configuration."""
    with pytest.raises(ValueError, match=says):
        ExecConfig(command="true", **options)


def test_a_program_is_looked_for_as_its_path_says(tmp_path):
    """A PATH of its own is where it is looked for, and where it looks itself."""
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    command = command_of(ExecConfig(command="mine", env={"PATH": Secret(str(tmp_path))}), {})
    assert located(command) == str(tmp_path / "mine")


def test_outcomes_are_words():
    """A status is a number, a signal a name where it has one."""
    assert [outcome(status) for status in (0, 7, -9, -63)] == [
        "ended with status 0",
        "ended with status 7",
        "was killed by SIGKILL",
        "was killed by signal 63",
    ]


# --- streams


def stream(script, **options):
    """Return the options for a shell script that runs as long as the agent."""
    return sh(script, mode="stream", **options)


@pytest.mark.parametrize(
    ("form", "script", "expected"),
    [
        ("prometheus", "printf 'a 1\nb 2\n\nc 3\n'", {("a", ()): 1.0, ("b", ()): 2.0}),
        ("openmetrics", "printf 'a 1\n# EOF\n'", {"a": 1.0}),
        ("json", """echo '{"name":"a","value":1}'""", {("a", ()): 1.0}),
    ],
)
async def test_a_stream_tells_when_it_likes(begin, form, script, expected):
    """What its last whole answer said is told, again and again; the first collection waits for it."""
    plugin = await begin(stream(f"{script}; sleep 1000", format=form))
    for _ in range(3):
        collected = list(await asyncio.wait_for(plugin.collect(), PATIENCE))
        if form == "openmetrics":
            assert {each.name: each.samples[0].value for each in collected} == expected
        else:
            assert told(collected) == expected


@pytest.mark.parametrize(
    ("form", "line"), [("prometheus", "n $n"), ("json", '{\\"name\\":\\"n\\",\\"value\\":$n}')]
)  # fmt: skip
async def test_a_stream_is_asked(begin, form, line, children):
    """Each collection asks once, and tells that answer; one process answers all."""
    script = f'n=0; while read l; do n=$((n+1)); echo "{line}"; echo; done'
    plugin = await begin(stream(script, signal="stdin", format=form))
    for number in range(1, 5):
        assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {("n", ()): float(number)}
    assert len(children()) == 1


SILENT = {
    "nothing": ("sleep 1000", {}, "sh has told nothing for more than 1 s since it began: does it flush its output (ff"),
    "no end": (
        "echo a 1; sleep 1000",
        {},
        "sh has ended no answer for more than 1 s since it began: an empty line ends",
    ),
    "no JSON": ("echo a 1; sleep 1000", {"format": "json"}, "told nothing that is understood for more than 1 s since"),
}


@pytest.mark.parametrize(("script", "options", "says"), SILENT.values(), ids=SILENT)
async def test_one_that_tells_nothing_holds_nobody_up(begin, first, script, options, says):
    """Once its first moment is over, collections fail at once and say what to look at, always in the same words."""
    plugin = await begin(stream(script, **options))
    await until(lambda: plugin._stream._written or (plugin._stream._process and script.startswith("sleep")))
    first(0.0)
    for _ in range(3):
        with pytest.raises(ProgramError) as error:
            await asyncio.wait_for(plugin.collect(), PATIENCE)
        assert says in str(error.value)


async def test_what_it_tells_late_is_told(begin, first, tmp_path):
    """A program that needs longer for its first answer is told from then on."""
    first(0.0)
    os.mkfifo(tmp_path / "in")
    plugin = await begin(stream(f"exec cat {tmp_path}/in"))
    with await asyncio.to_thread(open, tmp_path / "in", "w", buffering=1) as fifo:
        with pytest.raises(ProgramError, match="since it began"):
            await asyncio.wait_for(plugin.collect(), PATIENCE)
        fifo.write("a 1\n\n")
        await until(lambda: plugin._stream._told)
        assert told(await plugin.collect()) == {("a", ()): 1.0}


def test_silence_is_said_in_few_words():
    """The time is rounded down to a power of ten, so that the log does not have a new text with each scrape."""
    plugin = Exec(stream("true"))
    said = []
    for seconds in (0.2, 1.0, 9.0, 10.5, 99.0, 250.0):
        plugin._stream._begun = plugin.clock.monotonic() - seconds
        said.append(plugin._stream._silence().split(" since ")[0].partition("than ")[2])
    assert said == ["1 s", "1 s", "1 s", "10 s", "10 s", "100 s"]


async def test_one_that_is_asked_and_does_not_flush_is_told_of(begin, caplog):
    """A collection that is given up says once what to look at."""
    plugin = await begin(stream("while read l; do :; done", signal="stdin"))
    for _ in range(2):
        plugin.context.deadline = None
        collecting = asyncio.create_task(plugin.collect())
        await until(lambda: plugin._stream._asked)
        await asyncio.sleep(0)
        plugin.context.deadline = 0.0
        collecting.cancel()
        await asyncio.wait({collecting})
    assert caplog.text.count("sh was asked and has told nothing: does it flush its output") == 1


async def test_one_that_tells_events_alone(begin):
    """Events are an answer, too: there is nothing wrong with a program that has no metrics."""
    emitted = []
    plugin = await begin(stream("""echo '{"event":"a.b"}'; sleep 1000""", format="json"), emit=emitted.append)
    assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {}
    assert len(emitted) == 1


async def test_nothing_to_tell_is_an_answer(begin):
    """An empty line alone says that there is nothing."""
    plugin = await begin(stream("while read l; do echo; done", signal="stdin"))
    for _ in range(3):
        assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {}


async def test_json_lines_add_up(begin, tmp_path):
    """A line sets its series, null removes it, and an empty line removes what was not told since the one before."""
    os.mkfifo(tmp_path / "in")
    plugin = await begin(stream(f"exec cat {tmp_path}/in", format="json"))
    with await asyncio.to_thread(open, tmp_path / "in", "w", buffering=1) as fifo:

        async def makes(expected, *lines):
            for line in lines:
                fifo.write((json.dumps(line) if line else "") + "\n")
            end = time.monotonic() + PATIENCE
            while (found := told(await asyncio.wait_for(plugin.collect(), PATIENCE))) != expected:
                assert time.monotonic() < end, found
                await asyncio.sleep(0.01)

        a, b = {"name": "a", "value": 1}, {"name": "b", "value": 2}
        await makes({("a", ()): 1.0, ("b", ()): 2.0}, a, b)
        await makes({("a", ()): 3.0, ("b", ()): 2.0}, {"name": "a", "value": 3})
        await makes({("a", ()): 3.0}, {"name": "b", "value": None})
        await makes({("b", ()): 2.0}, None, b, None)
        await makes({("a", ()): 1.0, ("b", ()): 2.0}, b, {"name": "b", "wrong": 3}, a)


async def test_events_of_a_program(begin):
    """A line with an event is emitted, once for each time that it is written."""
    emitted = []
    line = '{"event":"door.opened","payload":{"by":"key 3"},"target":"door","timestamp":5}'
    once = await begin(ExecConfig(command="echo", args=[line], format="json"), emit=emitted.append)
    assert told(await once.collect()) == {}
    streaming = await begin(stream(f"echo '{line}'; sleep 1000", format="json"), emit=emitted.append)
    await until(lambda: len(emitted) == 2)
    for event in emitted:
        assert (event.type, event.source, event.target, event.timestamp) == (
            "door.opened",
            "collectors.mine",
            "door",
            5.0,
        )
        assert event.payload == {"by": "key 3"}
    await streaming.stop()


async def test_one_that_dies_is_begun_again(begin, tmp_path, children):
    """While it is away the collection fails and says why; then it tells again, with another process."""
    script = f"echo $$ >> {tmp_path}/pids; printf 'a 1\n\n'; read l; echo gone >&2; exit 4"
    os.mkfifo(tmp_path / "in")
    plugin = await begin(stream(f"exec 0<>{tmp_path}/in; {script}", restart_delay=0.5))
    assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {("a", ()): 1.0}
    (first,) = (tmp_path / "pids").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    await until(lambda: plugin._stream._process is None)
    with contextlib.suppress(ProgramError):  # unless it is back already
        await asyncio.wait_for(plugin.collect(), PATIENCE)

    async def back():
        with contextlib.suppress(ProgramError):
            return told(await asyncio.wait_for(plugin.collect(), PATIENCE))

    end = time.monotonic() + PATIENCE
    while await back() != {("a", ()): 1.0} or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    await until(lambda: len(children()) == 1)


async def test_its_end_is_said(begin, caplog):
    """The failure names the status and the last line of its standard error."""
    plugin = await begin(stream("echo no device >&2; exit 4", restart_delay=1000.0))
    with pytest.raises(ProgramError, match="sh ended with status 4; it last said: no device; it is begun again"):
        await asyncio.wait_for(plugin.collect(), PATIENCE)
    assert "it is begun again in" in caplog.text
    missing = await begin(ExecConfig(command="agentd-no-such-program", mode="stream", restart_delay=1000.0))
    with pytest.raises(ProgramError, match="there is no program"):
        await asyncio.wait_for(missing.collect(), PATIENCE)


@pytest.mark.parametrize(
    ("script", "options", "says"),
    [
        ("sleep 1000", {"max_age": 0.3}, "sh has told nothing for 0.3 s: it was killed; does it flush its output"),
        ("sleep 1000", {"max_age": 0.3, "signal": "stdin"}, "sh has not answered for 0.3 s: it was killed"),
        ("exec >&-; sleep 1000", {}, "sh has closed its standard output: it was killed"),
        ("head -c 100000 /dev/zero; sleep 1000", {"max_output": Size(2048)}, "wrote a line of more than 2048 bytes"),
        ("yes 'a 1'", {"max_output": Size(2048)}, "wrote an answer of more than 2048 bytes"),
    ],
)
async def test_a_stream_that_does_wrong_is_killed(begin, script, options, says, children):
    """One that is silent, or writes without end, is killed with its group and begun again."""
    plugin = await begin(stream(script, restart_delay=1000.0, **options))
    with pytest.raises(ProgramError) as error:
        await asyncio.wait_for(plugin.collect(), PATIENCE)
    assert says in str(error.value)
    await until(lambda: not children())


async def test_what_cannot_be_understood_leaves_turns_to_others(begin, monkeypatch):
    """However long each line takes that is left out, the agent's other work goes on between few of them."""
    plugin = await begin(stream("yes", format="json"))
    seen = turns = 0

    def slow(_text, *_arguments):
        nonlocal seen
        seen += 1
        time.sleep(0.01)  # so slow is a log

    monkeypatch.setattr(plugin.log, "warning", slow)
    async with asyncio.timeout(PATIENCE):
        while seen < 300:
            turns += 1
            await asyncio.sleep(0)
    assert seen < 450


async def test_a_stream_that_is_begun_again_leaves_nothing_behind(begin, tmp_path):
    """What it wrote before it was killed goes without a collection of garbage, which may never see it."""
    options = {"max_output": Size(1024), "restart_delay": Duration(0.01)}
    gc.collect()
    gc.disable()
    try:
        await begin(stream(f"echo >> {tmp_path}/begun; exec yes", **options))
        await until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").stat().st_size > 3)
        left = [each for each in gc.get_objects() if isinstance(each, ProgramError)]
        assert len(left) < 2
    finally:
        gc.enable()


async def test_a_stream_is_read_no_faster_than_it_may_write(begin, tmp_path):
    """One that writes answer after answer is held up by its own pipe, and the agent goes on."""
    script = (
        "import sys\nn = 0\nwhile True:\n    n += 1\n    sys.stdout.write('a 1\\n\\n')\n"
        f"    if n % 1000 == 0: open({str(tmp_path / 'n')!r}, 'w').write(f'{{n}}\\n')\n"
    )
    plugin = await begin(py(script, mode="stream", max_output=Size(1024)))
    assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {("a", ()): 1.0}
    await asyncio.sleep(1.0)
    # What fits into the pipe, and into the reader, and what a few seconds bring: far less than it would write.
    assert not (tmp_path / "n").exists() or int((tmp_path / "n").read_text() or 0) < 60_000


async def test_a_bad_answer_fails_until_the_next(begin):
    """What cannot be understood is said; the next answer is told as if nothing had been."""
    script = "n=0; while read l; do n=$((n+1)); test $n = 2 && echo '???' || echo a $n; echo; done"
    plugin = await begin(stream(script, signal="stdin"))
    assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {("a", ()): 1.0}
    with pytest.raises(ProgramError, match="not understood"):
        await asyncio.wait_for(plugin.collect(), PATIENCE)
    assert told(await asyncio.wait_for(plugin.collect(), PATIENCE)) == {("a", ()): 3.0}


async def test_a_stream_is_asked_to_end_before_it_is_killed(begin, tmp_path, children):
    """When the agent stops, its input ends and it gets SIGTERM; what stays is killed, its children included."""
    polite = await begin(
        stream(f"trap 'echo bye > {tmp_path}/bye; exit' TERM; printf 'a 1\n\n'; while :; do sleep 0.05; done")
    )
    await asyncio.wait_for(polite.collect(), PATIENCE)
    await polite.stop()
    await until((tmp_path / "bye").exists)
    deaf = await begin(stream("trap '' TERM; printf 'a 1\n\n'; sleep 1000"))
    await asyncio.wait_for(deaf.collect(), PATIENCE)
    await deaf.stop()
    await until(lambda: not children())


# --- in an agent


def section(name, script, **options):
    """Return a section of a configuration that runs a shell script."""
    lines = [f"[collectors.{name}]", 'plugin = "exec"', 'command = "sh"', f"args = ['-c', {json.dumps(script)}]"]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in options.items())]) + "\n"


def told_by(agent, **labels):
    """Return the process that tells its own number, once it does: a loaded machine may need more than a moment."""
    end = time.monotonic() + PATIENCE
    while (number := agent.get("/metrics").value("pid", **labels)) is None:
        assert time.monotonic() < end, "it does not tell"
        time.sleep(2.0)  # one that fails again and again is asked less often
    return int(number)


def test_programs_take_no_name_of_others(start_agent):
    """Two that tell the same series are told apart by labels; what the agent tells itself no program can take."""
    loads = "echo 'node_load1 -1'; echo 'agentd_build_info 7'; echo 'mine 1'"
    agent = start_agent(
        section("first", loads) + section("second", "echo 'mine 2'") + section("third", loads, labels='{ p = "3" }')
    )
    answer = agent.get("/metrics")
    assert answer.value("mine") == 1.0
    assert answer.value("mine", p="3") == 1.0
    assert answer.value("node_load1") >= 0.0
    assert answer.value("agentd_build_info") is None  # it has labels, and the program's own has none
    assert answer.value("agentd_collector_rejected_total", plugin="collectors.second", reason="duplicate") >= 1.0
    assert "label values () were there already" in agent.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_program_outlives_the_agent(start_agent, number):
    """A program that runs as long as the agent ends with it, even where the agent is killed: its input ends."""
    script = "echo pid $$; echo; cat >/dev/null"
    agent = start_agent(section("lasting", script, mode='"stream"'))
    pid = told_by(agent)
    assert runs(pid)
    agent.stop(number)
    end = time.monotonic() + PATIENCE
    while runs(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_reload_begins_a_changed_program_anew(start_agent):
    """Only the program whose section changed is begun anew; the old one is gone by then."""
    script = "echo 'pid{p=\"P\"}' $$; echo; cat >/dev/null"
    lasting = {name: section(name, script.replace("P", name), mode='"stream"') for name in ("one", "two")}
    agent = start_agent("".join(lasting.values()))
    before = {name: told_by(agent, p=name) for name in lasting}
    file = agent.folder / "agentd.toml"
    file.write_text(file.read_text().replace(lasting["two"], lasting["two"] + 'env = { X = "1" }\n'))
    command = [sys.executable, "-m", "agentd", "reload"]
    done = subprocess.run(command, env=agent.environment, capture_output=True, text=True, timeout=60, check=False)
    assert "collectors.two" in done.stdout, done
    end = time.monotonic() + PATIENCE
    while runs(before["two"]):
        assert time.monotonic() < end
        time.sleep(0.02)
    after = {name: told_by(agent, p=name) for name in lasting}
    assert after["one"] == before["one"]
    assert after["two"] != before["two"]


# --- pure parts


NAMES = st.sampled_from(["a", "b_total", "c:d"])
LABELS = st.dictionaries(st.sampled_from(["x", "y"]), st.text(max_size=3), max_size=2)


def test_series_of_json_lines_are_bounded(monkeypatch):
    """Series, their bytes and their names of labels have limits; of what is refused nothing stays."""
    monkeypatch.setattr(formats, "SERIES", 70)
    monkeypatch.setattr(formats, "LARGEST", 10_000)
    samples = Samples()
    for number in range(_textformat.LABELS):
        samples.put(Sample("a", 1.0, {f"l{number}": "x"}))
    with pytest.raises(ValueError, match=f"a has more than {_textformat.LABELS} names"):
        samples.put(Sample("a", 1.0, {"other": "x"}))
    samples.put(Sample("b", 1.0, {"long": "x" * 9_000}))
    with pytest.raises(ValueError, match="10000 bytes"):
        samples.put(Sample("c", 1.0, {"long": "x" * 9_000}))
    samples.put(Sample("b", None, {"long": "x" * 9_000}))
    samples.put(Sample("c", 1.0, {"long": "x" * 9_000}))
    for number in range(5):
        samples.put(Sample(f"d{number}", 1.0))
    for number in range(100):
        with pytest.raises(ValueError, match="70 series"):
            samples.put(Sample(f"e{number}", 1.0))
    assert {each.name for each in samples.families("x")} == {"a", "c", *(f"d{number}" for number in range(5))}
    assert not any(name.startswith("e") for name in samples._metrics)


@given(st.lists(st.tuples(NAMES, LABELS, st.floats(allow_nan=False) | st.none())))
@settings(max_examples=100, deadline=None)
def test_series_of_json_lines(lines):
    """The last line of each series counts, and null removes it."""
    expected, samples = {}, Samples()
    for name, labels, value in lines:
        text = msgspec.json.encode({"name": name, "labels": labels, "value": value})
        if b"null" in text and value is not None:  # infinity is no JSON
            continue
        samples.put(line_of_json(text))
        expected[name, frozenset(labels.items())] = value
    found = {}
    for family in samples.families("mine"):
        for key, number in family.samples.items():
            labels = zip(family.label_names, key, strict=True)
            found[family.name, frozenset((name, text) for name, text in labels if text is not None)] = number
    assert found == {key: value for key, value in expected.items() if value is not None}


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_understood_or_refused(data):
    """No output ends in anything but families, or an error of the program."""
    for form in ("prometheus", "openmetrics", "json"):
        with contextlib.suppress(ProgramError):
            assert parse(form, data, "mine").families is not None
    with contextlib.suppress(ValueError):
        line_of_json(data)


@given(LABELS, st.dictionaries(st.sampled_from(["x", "z"]), st.text(max_size=3), max_size=2))
@settings(max_examples=100, deadline=None)
def test_labels_are_put_on(own, given):
    """Every sample has the labels of the section, and its own others."""
    family = Family("a", "gauge", "A.", tuple(own), {tuple(own.values()): 1.0})
    (after,) = labelled([family], given)
    (key,) = after.samples
    assert dict(zip(after.label_names, key, strict=True)) == {**own, **given}


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("prometheus", 'a 1\n  b:{x="y"} 2\n'),
        ("prometheus", "# TYPE b: gauge\nb:\t2\n"),
        ("openmetrics", "a 1\nb: 2\n# EOF\n"),
    ],
)
def test_a_colon_behind_a_name_is_refused(form, text):
    """``users: 3`` is a slip, though the format allows it; the error names the line."""
    with pytest.raises(ProgramError, match="line 2: expected b without a colon behind it, found '"):
        parse(form, text.encode(), "mine")


def test_a_colon_within_a_name_is_none_behind_it():
    """Names of recording rules, and colons in labels, are left alone."""
    text = b'# HELP job:a What: it is.\njob:a 1\n:b{x="c: 3"} 2\n'
    assert [family.name for family in parse("prometheus", text, "mine").families] == ["job:a", ":b"]
    assert line_of_json(b'{"name":"job:a","value":1}').name == "job:a"
    with pytest.raises(ValueError, match="'a:' is no name of a metric"):
        line_of_json(b'{"name":"a:","value":1}')


def test_kinds_and_help_of_json_lines():
    """Any line may say what a name is; two that contradict each other are an error."""
    samples = Samples()
    samples.put(Sample("a", 1.0))
    samples.put(Sample("a", 2.0, {"x": "1"}, "gauge", "What it is."))
    assert samples.families("mine") == [
        Family("a", "gauge", "What it is.", ("x",), {(None,): 1.0, ("1",): 2.0}),
    ]
    with pytest.raises(ValueError, match="a counter here, and was a gauge before"):
        samples.put(Sample("a", 2.0, type="counter"))


def test_series_are_limited():
    """A stream that tells ever new series is refused them."""
    samples = Samples()
    for number in range(SERIES):
        samples.put(Sample("a", 1.0, {"x": str(number)}))
    with pytest.raises(ValueError, match="no more are kept"):
        samples.put(Sample("a", 1.0, {"x": "one more"}))
    samples.put(Sample("a", 2.0, {"x": "0"}))


async def test_a_line_without_end_takes_no_memory():
    """What is logged of a line is limited, and so is what is kept of one that does not end."""
    records = []
    log = logging.getLogger("test of said")
    log.addHandler(logging.Handler())
    log.handlers[0].emit = records.append
    said, reader = Said(log, str, lambda: 0.0), asyncio.StreamReader()
    following = asyncio.create_task(said.follow(reader))
    for _ in range(10):
        reader.feed_data(b"x" * 65536)
        await asyncio.sleep(0)
    reader.feed_data(b"\x1b[31m")
    reader.feed_eof()
    await following
    assert len(records) == 1
    assert len(said.last) == LONGEST + 1

"""The collector process: on a pretended /proc whose processes come, work and go, and on this machine's own."""

import logging
import os
import pwd
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Context, Host, HostPaths, NoData, Regex
from agentd_plugins.collectors import _process_files as files
from agentd_plugins.collectors._process_groups import GroupRule, Traits, Users, group_of
from agentd_plugins.collectors._process_ledger import Counts, grown
from agentd_plugins.collectors.process import Process, ProcessConfig, boot_time

PREFIX = "namedprocess_namegroup_"
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Machine:
    """A pretended /proc."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "stat").write_text("cpu 1 2 3\nbtime 1700000000\nprocesses 9\n")
        (folder / "1").mkdir()  # which ends before anybody reads it

    def stat(self, comm, *, state="S", parent=1, user=0, system=0, start=100, threads=1, minor=0, major=0, pages=10):
        return (
            f"7 ({comm}) {state} {parent} 0 0 0 -1 0 {minor} 0 {major} 0 {user} {system} 0 0 20 0 {threads} 0 {start} "
            f"8192000 {pages} 1 2 3\n"
        )

    def status(self, switches=(0, 0), uid=1000, swap=0):
        return (
            f"Name:\tany\nUid:\t0\t{uid}\t0\t0\nVmSwap:\t  {swap} kB\n"
            f"voluntary_ctxt_switches:\t{switches[0]}\nnonvoluntary_ctxt_switches:\t{switches[1]}\n"
        )

    def process(self, pid, comm="web", *, line="", switches=(0, 0), io=(0, 0), uid=1000, swap=0, fds=3, pss=40, **stat):
        """Make a process, or let it have counted more."""
        folder = self.folder / str(pid)
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        for old in (folder / "fd").iterdir():
            old.unlink()
        for number in range(fds):
            (folder / "fd" / str(number)).touch()
        (folder / "stat").write_text(self.stat(comm, **stat))
        (folder / "status").write_text(self.status(switches, uid, swap))
        (folder / "cmdline").write_text((line or f"/usr/bin/{comm} -d").replace(" ", "\0") + "\0")
        (folder / "io").write_text(f"rchar: 1\nread_bytes: {io[0]}\nwrite_bytes: {io[1]}\n")
        (folder / "limits").write_text("Limit   Soft  Hard  Units\nMax open files            10     20    files\n")
        (folder / "smaps_rollup").write_text(
            f"00-ff ---p 0 00:00 0  [rollup]\nPss: {pss} kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 8 kB\nSwapPss: 2 kB\n"
        )
        return folder

    def thread(self, pid, tid, comm, *, switches=(0, 0), io=(0, 0), **stat):
        """Make a thread of a process."""
        folder = self.folder / str(pid) / "task" / str(tid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(self.stat(comm, **stat))
        (folder / "status").write_text(self.status(switches))
        (folder / "io").write_text(f"read_bytes: {io[0]}\nwrite_bytes: {io[1]}\n")

    def end(self, pid):
        """Let a process end."""
        shutil.rmtree(self.folder / str(pid))

    def collector(self, *rules, **options):
        """Return the collector for this machine."""
        return Process(
            ProcessConfig(groups=rules or (GroupRule(name="all", cmdline=(Regex(""),)),), **options),
            Context(host=Host(HostPaths(procfs=str(self.folder)))),
        )


@pytest.fixture
def machine(tmp_path):
    """A machine without processes."""
    return Machine(tmp_path)


def told(collector):
    """Return the samples of families by the rest of their names; a label alone stands for itself."""
    return {
        family.name.removeprefix(PREFIX): {
            labels[0] if len(labels) == 1 else labels: value for labels, value in family.samples.items()
        }
        for family in collector.collect()
    }


def test_a_group_is_told_of_as_process_exporter_does(machine):
    """Two processes of a group are added up under process-exporter's names, labels and units."""
    machine.process(10, start=5 * TICKS, state="R", swap=3, fds=2)
    machine.process(11, start=2 * TICKS, state="D", fds=8, pages=1)
    machine.process(12, comm="other")
    families = told(machine.collector(GroupRule(comm=("web",))))
    assert families["num_procs"] == {"web": 2.0}
    assert families["num_threads"] == {"web": 2.0}
    assert families["oldest_start_time_seconds"] == {"web": 1700000002.0}
    assert families["open_filedesc"] == {"web": 10.0}
    assert families["worst_fd_ratio"] == {"web": 0.8}
    assert families["memory_bytes"] == {
        ("web", "resident"): 11.0 * PAGE,
        ("web", "virtual"): 2 * 8192000.0,
        ("web", "swapped"): 3072.0,
        ("web", "proportionalResident"): 2 * 40 * 1024.0,
        ("web", "proportionalSwapped"): 2 * 2 * 1024.0,
        ("web", "unique"): 2 * 12 * 1024.0,
    }
    states = {"Running": 1.0, "Sleeping": 0.0, "Waiting": 1.0, "Zombie": 0.0, "Other": 0.0}
    assert families["states"] == {("web", state): count for state, count in states.items()}
    assert families["restarts_total"] == {"web": 0.0}
    assert families["cpu_seconds_total"] == {("web", "user"): 0.0, ("web", "system"): 0.0}
    assert families["namedprocess_scrape_partial_errors"] == {(): 0.0}
    assert "thread_count" not in families


def test_counters_begin_with_the_agent_and_never_go_back(machine):
    """What was counted before the agent began is left out, what later processes count is whole, and ends keep it."""
    collector = machine.collector()
    machine.process(10, user=1000 * TICKS, io=(7000, 9000), minor=50, switches=(400, 300))
    first = told(collector)
    assert set(first["cpu_seconds_total"].values()) == {0.0}
    assert first["read_bytes_total"] == {"all": 0.0}

    machine.process(10, user=1002 * TICKS, io=(7100, 9000), minor=51, switches=(405, 301))
    machine.process(11, start=900, user=3 * TICKS, system=TICKS, io=(20, 5), major=2, switches=(1, 2))
    second = told(collector)
    assert second["cpu_seconds_total"] == {("all", "user"): 5.0, ("all", "system"): 1.0}
    assert second["read_bytes_total"] == {"all": 120.0}
    assert second["write_bytes_total"] == {"all": 5.0}
    assert second["minor_page_faults_total"] == {"all": 1.0}
    assert second["major_page_faults_total"] == {"all": 2.0}
    assert second["context_switches_total"] == {("all", "voluntary"): 6.0, ("all", "nonvoluntary"): 3.0}

    machine.end(10)
    machine.end(11)
    third = told(collector)
    for name in second:
        if name.endswith("_total"):
            assert third[name] == second[name], name
    assert third["num_procs"] == {"all": 0.0}
    assert third["open_filedesc"] == {"all": 0.0}
    assert set(third["memory_bytes"].values()) == {0.0}
    assert "oldest_start_time_seconds" not in third

    machine.process(10, start=1000, user=TICKS)  # the number is used again
    assert told(collector)["cpu_seconds_total"]["all", "user"] == 6.0


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 500)), max_size=3),
        min_size=2,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_history_of_processes_lets_a_counter_go_back(tmp_path_factory, history):
    """Whatever processes come, go and come again under the same numbers, counters only grow."""
    machine = Machine(tmp_path_factory.mktemp("proc"))
    collector = machine.collector()
    before = {}
    for moment in history:
        for pid in (1, 2, 3):
            shutil.rmtree(machine.folder / str(pid), ignore_errors=True)
        for pid, start, user in moment:
            machine.process(pid, start=start, user=user, io=(user, user))
        now = {
            (name, labels): value
            for name, samples in told(collector).items()
            if name.endswith("_total")
            for labels, value in samples.items()
        }
        assert before.keys() <= now.keys()
        assert all(now[key] >= value for key, value in before.items())
        before = now


def test_memory_does_not_grow_with_processes_that_have_ended(machine):
    """What the collector keeps is bounded by what there is: ended processes and threads leave only their sums."""
    collector = machine.collector()
    for pid in range(100, 130):
        machine.process(pid, start=pid, threads=2)
        machine.thread(pid, pid, "main", start=pid)
        machine.thread(pid, pid + 1000, f"worker{pid}", start=pid)
        told(collector)
        machine.end(pid)
    told(collector)
    assert collector._members == {}
    assert list(collector._groups) == ["all"]
    assert collector._groups["all"].threads == {}


def test_restarts_are_seen(machine):
    """A restart is when none of a group's processes is left and others have come, even between two looks."""
    collector = machine.collector()
    machine.process(10, start=1)
    machine.process(11, start=1)
    assert told(collector)["restarts_total"] == {"all": 0.0}
    machine.process(11, start=2)  # one of two was replaced
    assert told(collector)["restarts_total"] == {"all": 0.0}
    machine.process(10, start=3)
    machine.process(11, start=3)
    assert told(collector)["restarts_total"] == {"all": 1.0}
    machine.end(10)
    machine.end(11)
    assert told(collector)["restarts_total"] == {"all": 1.0}
    machine.process(12, start=9)
    assert told(collector)["restarts_total"] == {"all": 2.0}


def test_threads_are_told_of_by_name(machine):
    """A process with several threads has counters by their names; switches of all of them count for the group."""
    machine.process(10, threads=3, state="S", user=90)
    machine.thread(10, 10, "web", switches=(5, 1))
    collector = machine.collector()
    told(collector)
    machine.process(10, threads=3, user=90 + 4 * TICKS)
    machine.thread(10, 10, "web", switches=(7, 1), user=2 * TICKS)
    machine.thread(10, 20, "pool", switches=(100, 10), user=TICKS, io=(64, 32), state="R", start=200)
    machine.thread(10, 21, "pool", switches=(200, 20), user=TICKS, io=(1, 1), start=200, major=3, minor=4)
    families = told(collector)
    assert families["cpu_seconds_total"]["all", "user"] == 4.0
    assert families["context_switches_total"] == {("all", "voluntary"): 302.0, ("all", "nonvoluntary"): 30.0}
    assert families["thread_count"] == {("all", "web"): 1.0, ("all", "pool"): 2.0}
    assert families["thread_cpu_seconds_total"]["all", "pool", "user"] == 2.0
    assert families["thread_io_bytes_total"]["all", "pool", "read"] == 65.0
    assert families["thread_io_bytes_total"]["all", "pool", "write"] == 33.0
    assert families["thread_major_page_faults_total"]["all", "pool"] == 3.0
    assert families["thread_minor_page_faults_total"]["all", "pool"] == 4.0
    assert families["thread_context_switches_total"]["all", "pool", "voluntary"] == 300.0
    assert families["states"]["all", "Running"] == 1.0
    assert families["states"]["all", "Sleeping"] == 2.0

    shutil.rmtree(machine.folder / "10" / "task" / "21")
    assert told(collector)["context_switches_total"]["all", "voluntary"] == 302.0  # does not go back
    plain = told(machine.collector(threads=False))
    assert "thread_count" not in plain
    assert sum(plain["states"].values()) == 1.0


def test_children_belong_to_the_group_of_their_parents(machine):
    """A process that meets no rule is of its parent's group, and stays there when that has ended."""
    machine.process(10, comm="web", start=5)
    machine.process(30, comm="helper", parent=10, start=6)
    machine.process(20, comm="deep", parent=30, start=7)
    machine.process(40, comm="stranger", parent=2, start=6)
    collector = machine.collector(GroupRule(comm=("web",)))
    assert told(collector)["num_procs"] == {"web": 3.0}
    machine.end(10)
    machine.process(30, comm="helper", parent=1, start=6)
    assert told(collector)["num_procs"] == {"web": 2.0}
    assert "num_procs" not in told(machine.collector(GroupRule(comm=("web",)), children=False))


def test_a_process_that_runs_another_program_changes_its_group(machine):
    """What it counts from then on belongs to the new group, what it counted before stays with the old one."""
    collector = machine.collector(GroupRule(name="{comm}", comm=("shell", "web")))
    machine.process(10, comm="shell", user=5 * TICKS)
    told(collector)
    machine.process(10, comm="shell", user=6 * TICKS)
    told(collector)
    machine.process(10, comm="web", user=9 * TICKS)
    families = told(collector)
    assert families["num_procs"] == {"shell": 0.0, "web": 1.0}
    assert families["cpu_seconds_total"]["shell", "user"] == 1.0
    assert families["cpu_seconds_total"]["web", "user"] == 3.0


def test_groups_have_a_limit(machine, caplog):
    """Beyond the limit empty groups are forgotten first; then new ones are left out, and the log says so once."""
    collector = machine.collector(GroupRule(name="{pid}", cmdline=(Regex(""),)), max_groups=2)
    machine.process(10, start=1)
    machine.process(11, start=2)
    assert told(collector)["num_procs"] == {"10": 1.0, "11": 1.0}
    machine.process(12, start=3)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert told(collector)["num_procs"] == {"10": 1.0, "11": 1.0}
    assert [record.getMessage() for record in caplog.records] == ["there are more than 2 groups: others are left out"]
    machine.end(10)
    assert told(collector)["num_procs"] == {"11": 1.0, "12": 1.0}


def test_empty_groups_can_be_forgotten(machine):
    """With remove_empty_groups a group lasts as long as its processes."""
    collector = machine.collector(remove_empty_groups=True)
    machine.process(10)
    assert told(collector)["num_procs"] == {"all": 1.0}
    machine.end(10)
    assert "num_procs" not in told(collector)


def test_what_cannot_be_read_is_left_out_and_said_once(machine, monkeypatch, caplog):
    """A process of somebody else lacks only what its owner alone may read; the log names the right once."""
    machine.process(10, io=(5, 5))
    machine.process(11, io=(9, 9))
    real = files.Files._bytes

    def guarded(self, name):
        if self.folder == "10" and name in ("io", "smaps_rollup"):
            raise PermissionError(13, "Permission denied")
        return real(self, name)

    monkeypatch.setattr(files.Files, "_bytes", guarded)
    collector = machine.collector(GroupRule(name="{pid}", cmdline=(Regex(""),)))
    with caplog.at_level(logging.WARNING):
        families = [told(collector) for _ in range(2)][-1]
    assert families["num_procs"] == {"10": 1.0, "11": 1.0}
    assert families["read_bytes_total"] == {"11": 0.0}
    assert ("10", "resident") in families["memory_bytes"]
    assert ("10", "unique") not in families["memory_bytes"]
    assert ("11", "unique") in families["memory_bytes"]
    assert families["namedprocess_scrape_partial_errors"] == {(): 2.0}
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "that takes the drop-in processes.conf"
    ]


@pytest.mark.parametrize("hidepid", ["noaccess", "invisible"])
def test_hidden_processes_are_said_once(machine, monkeypatch, caplog, hidepid):
    """Where /proc hides the processes of others, or what is in them, the log says once what right is lacking."""
    machine.process(10)

    def hidden(self):
        raise PermissionError(1, "Operation not permitted")

    if hidepid == "invisible":
        (machine.folder / "1").rmdir()
    else:
        monkeypatch.setattr(files.Files, "stat", hidden)
    collector = machine.collector()
    for _ in range(2):
        collector.collect()
    (record,) = caplog.records
    assert "hidepid" in record.getMessage()
    assert "processes.conf" in record.getMessage()


@pytest.mark.parametrize("broken", ["", "7 (web S 1", "7 (web) S 1 2", "\0\xff(", "7 (web) S x" + " 1" * 30])
def test_a_process_that_makes_no_sense_leaves_the_others(machine, broken):
    """Where a stat is junk that process is left out and counted, all others are told of."""
    machine.process(10)
    (machine.process(11) / "stat").write_text(broken)
    families = told(machine.collector())
    assert families["num_procs"] == {"all": 1.0}
    assert families["namedprocess_scrape_procread_errors"] == {(): 1.0}


def test_a_process_that_ends_while_it_is_looked_at_is_no_error(machine):
    """A folder that is empty by the time it is read, or has lost all but its stat, is passed over in silence."""
    machine.process(10)
    (machine.folder / "11").mkdir()
    folder = machine.process(12)
    for name in ("status", "io", "cmdline", "limits", "smaps_rollup"):
        (folder / name).unlink()
    shutil.rmtree(folder / "fd")
    families = told(machine.collector(GroupRule(comm=("web",))))
    assert families["num_procs"] == {"web": 2.0}
    assert families["open_filedesc"] == {"web": 3.0}
    assert families["namedprocess_scrape_procread_errors"] == {(): 0.0}


def test_without_groups_there_is_no_data():
    """Nothing is looked at where no groups are configured."""
    with pytest.raises(NoData, match="no groups"):
        Process().collect()


def test_without_procfs_there_is_no_data(machine):
    """A system that has no procfs lacks the thing."""
    collector = machine.collector()
    shutil.rmtree(machine.folder)
    with pytest.raises(NoData, match="there is no"):
        collector.collect()


def test_the_effective_user_counts(machine):
    """A rule on users looks at the effective user of a process, and knows users without a name by number."""
    machine.process(10, uid=2**31 - 7)
    machine.process(11, uid=2**31 - 8)
    rule = GroupRule(name="of {user}", user=(str(2**31 - 7),))
    assert told(machine.collector(rule))["num_procs"] == {f"of {2**31 - 7}": 1.0}


TRAITS = Traits(7, "python3", ["/opt/bin/python3", "/srv/app.py", "--port", "80"], "ann", 1000)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"comm": ("python3",)}, "python3"),
        ({"comm": ("python",)}, None),
        ({"exe": ("python3",)}, "python3"),
        ({"exe": ("/opt/bin/python3",)}, "python3"),
        ({"exe": ("/usr/bin/python3",)}, None),
        ({"cmdline": (Regex(r"app\.py --port"),)}, "python3"),
        ({"cmdline": (Regex("app"), Regex("nowhere"))}, None),
        ({"user": ("ann",)}, "python3"),
        ({"user": ("1000",)}, "python3"),
        ({"user": ("bob",)}, None),
        ({"user": ("ann",), "comm": ("web",)}, None),
        ({"name": "{script} of {user} as {exe_path}", "cmdline": (Regex(r"/(?P<script>\w+)\.py"),)},
         "app of ann as /opt/bin/python3"),
        ({"name": "{extra}!", "cmdline": (Regex("(?P<extra>nothing)?"),)}, "!"),
        ({"name": "{pid} {comm} {}", "comm": ("python3",)}, "7 python3 {}"),
    ],
)  # fmt: skip
def test_rules_pick_by_name_command_line_and_user(rule, expected):
    """All conditions of a rule have to be met, and its name is filled in."""
    assert group_of(TRAITS, [GroupRule(**rule)]) == expected


def test_the_first_rule_that_is_met_decides():
    """Of several rules the first counts; a thread of the kernel, which has no command line, goes by its name."""
    rules = [
        GroupRule(name="a", user=("bob",)),
        GroupRule(name="b", comm=("python3",)),
        GroupRule(name="c", exe=("x",)),
    ]
    assert group_of(TRAITS, rules) == "b"
    assert group_of(Traits(2, "kthreadd"), [GroupRule(exe=("kthreadd",))]) is None
    assert group_of(Traits(2, "kthreadd"), [GroupRule(comm=("kthreadd",))]) == "kthreadd"


@pytest.mark.parametrize(
    ("options", "message"), [({}, "needs a condition"), ({"comm": ("a",), "name": "{nme}"}, "nme")]
)
def test_rules_that_make_no_sense_are_refused(options, message):
    """A rule without a condition, or with a place in its name that nothing fills, is an error that says so."""
    with pytest.raises(ValueError, match=message):
        GroupRule(**options)


def test_users_have_names_or_numbers():
    """A user without a name is called by the number."""
    assert Users().name(os.getuid()) in (pwd.getpwuid(os.getuid()).pw_name, str(os.getuid()))
    assert Users().name(2**31 - 7) == str(2**31 - 7)
    assert Users().name(None) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no procfs")
def test_a_real_process_is_told_of():
    """A process of this machine is found by its command line, its work is counted, and not lost at its end."""
    mark = f"agentd-test-{os.getpid()}"
    rule = GroupRule(name="busy", cmdline=(Regex(f"import.*{mark}"),))
    collector = Process(ProcessConfig(groups=(rule,)))
    assert "num_procs" not in told(collector)
    work = f"import time; '{mark}'\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"done\n"
            families = told(collector)
            assert families["num_procs"] == {"busy": 1.0}
            assert sum(families["cpu_seconds_total"].values()) >= 0.15
            assert families["open_filedesc"]["busy"] >= 3.0
            memory = families["memory_bytes"]
            assert memory["busy", "virtual"] >= memory["busy", "resident"] > 0.0
            if ("busy", "unique") in memory:
                assert memory["busy", "proportionalResident"] >= memory["busy", "unique"] > 0.0
        finally:
            process.communicate(b"\n")
    after = told(collector)
    assert after["num_procs"] == {"busy": 0.0}
    assert sum(after["cpu_seconds_total"].values()) >= sum(families["cpu_seconds_total"].values())


@given(st.text(st.characters(codec="utf-8"), max_size=15), st.integers(0, 2**70), st.binary())
@settings(max_examples=100, deadline=None)
def test_any_name_of_a_process_is_read(comm, start, rest):
    """Whatever a process calls itself, and whatever columns follow, its stat is read."""
    text = f"7 ({comm}) S 1 0 0 0 -1 0 1 0 2 0 3 4 0 0 20 0 5 0 {start} 6 7 ".encode() + rest.replace(b")", b"")
    found = files.parse_stat(text)
    assert (found.comm, found.start, found.threads) == (comm, start, 5.0)


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_junk_raises_nothing_but_value_error(text):
    """Binary junk in any of the files never raises anything but ValueError."""
    fields = files.parse_fields(text)
    files.owner(fields)
    for name in fields:
        files.number(fields, name)
    files.parse_command_line(text)
    for parse in (files.parse_stat, files.parse_limit, boot_time):
        with suppress(ValueError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "expected"), [(b"Max open files  unlimited  x", None), (b"Max open files 1024 4096 files", 1024.0)]
)
def test_the_limit_of_open_files_is_read(text, expected):
    """The soft limit is the one that counts, and there may be none."""
    assert files.parse_limit(text) == expected


COUNT = st.none() | st.floats(0, 1e15)
COUNTS = st.builds(Counts, *[COUNT] * len(Counts._fields))


@given(COUNTS, COUNTS, COUNTS)
@settings(max_examples=100, deadline=None)
def test_sums_never_shrink(sums, before, now):
    """Whatever was and is counted, no sum goes back, and what is not known changes nothing."""
    for old, latest, new in zip(sums, now, grown(sums, before, now), strict=True):
        assert new == old if latest is None else new >= (old or 0.0)

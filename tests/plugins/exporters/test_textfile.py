"""The textfile exporter: a file that is whole at any moment."""

import os
import stat
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentd.metrics.exposition import Renderer
from agentd.plugin import Context, Family, Snapshot
from agentd_plugins.collectors.host.textfile import Textfile as Collector
from agentd_plugins.collectors.host.textfile import TextfileConfig as CollectorConfig
from agentd_plugins.exporters.textfile import Textfile, TextfileConfig, write_atomically

LABELS = {"site": "hall-3", "line": 'with "quotes"'}


def exporter(path, *, gathered=None, labels=None):
    """Return an exporter to this file, of an agent with one family (or with what ``gathered`` returns)."""

    async def gather(**_):
        families = gathered() if gathered else [Family.gauge("told", "Told.", {"a": 1.0, "b": 2.0}, ("which",))]
        return Snapshot(tuple(families), 1700000000.5)

    async def render(snapshot, *, labels=None, **_):
        return Renderer("text", labels).render(snapshot.families)

    context = Context(name="exporters.textfile", labels=labels or {}, gather=gather, render=render)
    return Textfile(TextfileConfig(path=str(path)), context)


async def exported(plugin):
    """Have an exporter carry out a snapshot."""
    await plugin.export(await plugin.gather())


async def test_whole_snapshot_is_written(tmp_path):
    """The file holds the snapshot in the text format, readable by everybody."""
    plugin = exporter(tmp_path / "agentd.prom")
    await exported(plugin)
    text = (tmp_path / "agentd.prom").read_text()
    heading, text = text.split("\n", 1)
    assert heading.startswith(f"# Written by agentd, process {os.getpid()};")
    assert text == '# HELP told Told.\n# TYPE told gauge\ntold{which="a"} 1.0\ntold{which="b"} 2.0\n'
    assert stat.S_IMODE((tmp_path / "agentd.prom").stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["agentd.prom"]


async def test_labels_of_the_agent_are_on_every_sample(tmp_path):
    """Each sample has the agent's labels; one that a sample has already stays its own."""

    def gathered():
        return [Family.gauge("plain", "Plain.", 1.0), Family.gauge("own", "Own.", {"here": 1.0}, ("site",))]

    await exported(exporter(tmp_path / "agentd.prom", gathered=gathered, labels=LABELS))
    families = text_string_to_metric_families((tmp_path / "agentd.prom").read_text())
    samples = {sample.name: sample.labels for family in families for sample in family.samples}
    assert samples == {"plain": LABELS, "own": {**LABELS, "site": "here"}}


async def test_textfile_collector_reads_it_back(tmp_path, monkeypatch):
    """What one agent writes, the textfile collector of another one reads: the same names, labels and values."""
    await exported(exporter(tmp_path / "agentd.prom", labels=LABELS))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    families = {family.name: family for family in Collector(CollectorConfig(directory=[str(tmp_path)])).collect()}
    assert families["node_textfile_scrape_error"].samples == {(): 0.0}
    read = families["told"]
    assert (read.kind, read.help) == ("gauge", "Told.")
    samples = {frozenset(zip(read.label_names, key, strict=True)): value for key, value in read.samples.items()}
    assert samples == {frozenset({"which": which, **LABELS}.items()): n for which, n in (("a", 1.0), ("b", 2.0))}


async def test_an_agent_does_not_read_what_it_wrote(tmp_path, caplog):
    """A collector that reads the folder into which its own agent writes leaves that file alone, and says so."""
    await exported(exporter(tmp_path / "agentd.prom"))
    families = {family.name: family for family in Collector(CollectorConfig(directory=[str(tmp_path)])).collect()}
    assert "told" not in families
    assert families["node_textfile_scrape_error"].samples == {(): 1.0}
    assert "this agent itself has written it" in caplog.text


def test_reader_never_sees_half_a_file(tmp_path):
    """Whoever reads while it is written sees one version or the other, whole."""
    path = tmp_path / "agentd.prom"
    versions = {number: str(number).encode() * 200_000 for number in range(1, 4)}
    write_atomically(path, versions[1])
    done = threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        write_atomically(path, versions[number % 3 + 1])
    done.set()
    reader.join()
    assert seen <= set(versions.values())
    assert len(seen) > 1


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """Where the disk is full, say, the old file stays, and no half of a new one lies about."""
    path = tmp_path / "agentd.prom"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["agentd.prom"]


async def test_folder_that_is_not_there(tmp_path):
    """A folder that cannot be written to is named in the error; when it is there it goes on."""
    plugin = exporter(tmp_path / "later" / "agentd.prom")
    with pytest.raises(OSError, match=f"No such file or directory: '{tmp_path}/later/agentd.prom'"):
        await exported(plugin)
    (tmp_path / "later").mkdir()
    await exported(plugin)
    assert (tmp_path / "later" / "agentd.prom").exists()


async def test_folder_in_the_file_s_place(tmp_path):
    """A path that is a folder is an error like any other, and nothing lies about."""
    (tmp_path / "agentd.prom").mkdir()
    with pytest.raises(IsADirectoryError):
        await exported(exporter(tmp_path / "agentd.prom"))
    assert os.listdir(tmp_path) == ["agentd.prom"]


def test_path_that_nobody_would_read():
    """A name that no textfile collector reads is refused with what would be right."""
    with pytest.raises(ValueError, match=r'must end in "\.prom"'):
        TextfileConfig(path="/tmp/metrics.txt")


def test_running_agent_writes_its_metrics(start_agent, tmp_path):
    """An agent with this exporter writes what it gathers, with its labels and by its rules, for another one to read."""
    path = tmp_path / "out" / "host.prom"
    path.parent.mkdir()
    rules = "[{ action = 'keep', name = 'node_.*|agentd_exporter_.*' }]"
    writer = start_agent(
        f"labels = {{ site = 'hall-3' }}\n[exporters.textfile]\npath = '{path}'\ninterval = '1s'\nrules = {rules}"
    )
    writer.until(lambda: path.exists() and "agentd_exporter_exports_total" in path.read_text())
    samples = [s for family in text_string_to_metric_families(path.read_text()) for s in family.samples]
    assert {sample.labels.get("site") for sample in samples} == {"hall-3"}
    assert {sample.name.partition("_")[0] for sample in samples} == {"node", "agentd"}
    assert writer.get("/metrics").value("agentd_exporter_exports_total", plugin="exporters.textfile") >= 1
    # The other agent has no such collectors of its own: series that are the same would be double.
    off = "['loadavg', 'uname']"
    reader = start_agent(f"[collectors]\ndisable = {off}\n[collectors.textfile]\ndirectory = ['{path.parent}']")
    answer = reader.get("/metrics")
    assert answer.value("node_load1", site="hall-3") is not None
    assert answer.value("node_textfile_mtime_seconds", file=str(path)) is not None
    assert Path(path).stat().st_mode & 0o444 == 0o444

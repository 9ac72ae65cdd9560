"""The collector textfile, and the reader of Prometheus's text format."""

import math
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from agentd.plugin import Context, Histogram, Summary
from agentd_plugins.collectors import _textformat
from agentd_plugins.collectors._textformat import parse
from agentd_plugins.collectors.host import textfile as module
from agentd_plugins.collectors.host.textfile import Textfile, TextfileConfig

FIXTURES = Path(__file__).parents[3] / "fixtures" / "host" / "textfile"
EASY = settings(max_examples=100, deadline=None)


def collector(*directories):
    """Return a collector of these folders."""
    return Textfile(TextfileConfig(directory=[str(directory) for directory in directories]), Context(name="textfile"))


def told(textfile):
    """Return the families that a collector returns by name, without those about the files themselves, and the flag."""
    families = {family.name: family for family in textfile.collect()}
    flag = families.pop("node_textfile_scrape_error").samples[()]
    families.pop("node_textfile_mtime_seconds", None)
    return families, flag


def read_files(textfile):
    """Return the names of the files that count as read."""
    (mtimes,) = [f.samples for f in textfile.collect() if f.name == "node_textfile_mtime_seconds"] or [{}]
    return {Path(path).name for (path,) in mtimes}


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.prom").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_families_are_told_as_the_file_has_them():
    """Names, kinds and helps are the file's; a counter without _total keeps its name, and no TYPE means unknown."""
    families, flag = told(collector(FIXTURES / "first"))
    last = families["backup_last_success_timestamp_seconds"]
    assert (last.kind, last.help) == ("gauge", "When the last backup ended well.")
    assert last.samples == {("nightly",): 1.75e9}
    assert families["backup_files"].kind == "counter"
    assert families["charge_level"].kind == "unknown"
    assert flag == 0.0


def test_labels_that_samples_lack_are_empty():
    """Every sample of a file has all the labels that its family has there."""
    family = told(collector(FIXTURES / "first"))[0]["backup_files"]
    assert family.label_names == ("job", "result")
    assert family.samples == {("nightly", "copied"): 1200.0, ("nightly", ""): 3.0}


def test_histograms_and_summaries():
    """Lines with the same further labels make one histogram or summary, its points in ascending order."""
    families, _ = told(collector(FIXTURES / "second"))
    assert families["charge_duration_seconds"].samples == {
        ("a",): Histogram(buckets=((60.0, 1.0), (600.0, 4.0), (math.inf, 5.0)), count=5.0, sum=1234.5)
    }
    assert families["dock_seconds"].samples == {(): Summary(quantiles=((0.5, 7.5), (0.9, 8.5)), count=10.0, sum=75.0)}


def test_a_family_in_several_files_is_united():
    """Samples of all files are told in one family; a label that a whole file lacks is absent from its samples."""
    family = told(collector(FIXTURES / "first", FIXTURES / "second"))[0]["charge_level"]
    assert (family.label_names, family.samples) == (("robot",), {(None,): 0.75, ("a",): 0.5})
    assert all(name in family.help for name in ("backup.prom", "charger.prom"))


def test_mtimes_are_whole_seconds_of_files_that_were_read(tmp_path):
    """The time of writing is told in whole seconds, as node_exporter does, under the file's path."""
    write(tmp_path, good="a 1\n", bad="a 1")
    os.utime(tmp_path / "good.prom", ns=(0, 1_234_999_999_999))
    (mtime,) = (f for f in collector(tmp_path).collect() if f.name == "node_textfile_mtime_seconds")
    assert mtime.samples == {(f"{tmp_path}/good.prom",): 1234.0}


def test_without_folders_there_is_no_error():
    """By default nothing is read, and nothing is wrong."""
    assert told(Textfile()) == ({}, 0.0)
    assert told(collector("")) == ({}, 0.0)


def test_a_single_folder_may_be_given_as_a_text():
    """One folder need not be put into a list."""
    assert "charge_level" in told(Textfile(TextfileConfig(directory=str(FIXTURES / "first"))))[0]


def test_patterns_match_folders(tmp_path):
    """A pattern stands for all folders that it matches, hidden ones included, each file once."""
    for name in ("one", "two", ".three"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, x=f"{name.strip('.')} 1\n")
    families, flag = told(collector(tmp_path / "*", tmp_path / "one"))
    assert (families.keys(), flag) == ({"one", "two", "three"}, 0.0)


@pytest.mark.parametrize("name", ["nowhere", "no*where", "a_file"])
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, caplog, name):
    """A folder that is not there, or is a file, raises the flag, and the log names it once."""
    (tmp_path / "a_file").touch()
    textfile = collector(tmp_path / name, FIXTURES / "first")
    for _ in range(3):
        families, flag = told(textfile)
        assert ("charge_level" in families, flag) == (True, 1.0)
    assert [name in record.getMessage() for record in caplog.records] == [True]


def test_a_file_with_a_mistake_is_left_out_whole(tmp_path, caplog):
    """Nothing of such a file is told, other files are, and the log names file, line and cause once."""
    write(tmp_path, bad="one 1\ntwo x\n", good="three 3\n")
    textfile = collector(tmp_path)
    for _ in range(3):
        families, flag = told(textfile)
        assert (families.keys(), flag) == ({"three"}, 1.0)
    assert read_files(textfile) == {"good.prom"}
    (record,) = caplog.records
    assert all(part in record.getMessage() for part in ("bad.prom", "line 2", "'x'"))


def test_another_cause_is_said_and_a_file_that_is_mended_is_told(tmp_path, caplog):
    """The log speaks again when the cause changes, and a corrected file is told at the next scrape."""
    textfile = collector(write(tmp_path, x="one x\n"))
    textfile.collect()
    write(tmp_path, x="one 1 1700000000000\n")
    textfile.collect()
    assert "timestamps" in caplog.records[1].getMessage()
    write(tmp_path, x="one 1.5\n")
    assert told(textfile)[1] == 0.0
    assert read_files(textfile) == {"x.prom"}


def test_a_file_that_does_not_change_is_not_read_again(tmp_path, monkeypatch):
    """A file is parsed when it changes, with or without mistakes, and only that file."""
    parsed = []
    monkeypatch.setattr(module._textformat, "parse", lambda data: parsed.append(data) or parse(data))
    textfile = collector(write(tmp_path, good="a 1\n", bad="b"))
    for _ in range(3):
        textfile.collect()
    assert parsed == [b"b", b"a 1\n"]
    write(tmp_path, good="a 22\n")
    assert told(textfile)[0]["a"].samples == {(): 22.0}
    assert len(parsed) == 3


def test_a_file_that_is_replaced_is_read_again(tmp_path):
    """A file that another takes the place of, of the same size and time, is noticed by its inode."""
    textfile = collector(write(tmp_path, x="a 1\n"))
    textfile.collect()
    (tmp_path / "new").write_text("a 2\n")
    status = (tmp_path / "x.prom").stat()
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").rename(tmp_path / "x.prom")
    assert told(textfile)[0]["a"].samples == {(): 2.0}


def test_a_file_that_is_gone_is_told_no_more(tmp_path):
    """When a file is removed its metrics go."""
    textfile = collector(write(tmp_path, x="a 1\n", y="b 1\n"))
    textfile.collect()
    (tmp_path / "x.prom").unlink()
    assert told(textfile)[0].keys() == {"b"}


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch, caplog):
    """A file beyond the limit is not read at all, and the log says its size and the limit."""
    monkeypatch.setattr(module, "LARGEST", 10)
    families, flag = told(collector(write(tmp_path, large="a 1\nb 2\nc 3\n", small="d 4\n")))
    assert (families.keys(), flag) == ({"d"}, 1.0)
    assert "12 bytes; at most 10" in caplog.text


@pytest.mark.parametrize("line", ["m " + "1" * 100_000 + "e", "m " + "1" * 200_000, 'm{a="' + "x" * 200_000 + '"} 1'])
def test_a_line_that_takes_long_is_refused_at_once(line):
    """A number of 100,000 digits that is none takes no time that grows with its square; longer lines are not read."""
    with pytest.raises(ValueError, match=r"line 1: (expected a number|has 200[0-9]{3} bytes)"):
        parse(f"{line}\n".encode())


def test_repeated_series_are_named_once_and_not_all():
    """A series that is there any number of times is named once, and of very many some."""
    assert parse(b"a 1\n" * 1000).repeated == ["a"]
    found = parse(b"".join(b'a{n="%d"} 1\n' % number for number in range(500)) * 2)
    assert len(found.repeated) == _textformat.REPEATED
    assert len(found.families[0].samples) == 500


def test_many_problems_at_once_are_not_all_logged(tmp_path, caplog):
    """A folder full of bad files costs some lines of the log, of which the last says how many there were."""
    folder = write(tmp_path, **{f"bad{number}": "bad" for number in range(module.TOLD + 7)})
    textfile = collector(folder)
    textfile.collect()
    textfile.collect()
    assert len(caplog.records) == module.TOLD + 1
    assert caplog.records[-1].getMessage() == "and 7 further problems of this kind"


def test_a_file_with_too_many_samples_is_refused(tmp_path, monkeypatch, caplog):
    """A file with more samples and descriptions than one may have is left out: each takes memory."""
    monkeypatch.setattr(_textformat, "SAMPLES", 3)
    families, flag = told(
        collector(write(tmp_path, good="a 1\na 1\na 1\n", large="# TYPE b gauge\nb 1\n# c\nc 1\nd 1\n"))
    )
    assert (families.keys(), flag) == ({"a"}, 1.0)
    assert "large.prom: the file is left out: line 5: there are more than 3 samples and descriptions" in caplog.text


@pytest.mark.parametrize("kind", ["gauge", "histogram"])
def test_a_metric_with_too_many_names_of_labels_is_refused(tmp_path, caplog, kind):
    """A label of its own for each sample would be there, empty, on all others: as many as their number squared."""
    name = "m" if kind == "gauge" else "m_count"
    lines = [f'{name}{{l{number}="x"}} 1\n' for number in range(_textformat.LABELS + 1)]
    head = f"# TYPE m {kind}\n"
    families, flag = told(collector(write(tmp_path, few=head + "".join(lines[:-1]))))
    assert (len(families["m"].samples), flag) == (_textformat.LABELS, 0.0)
    families, flag = told(collector(write(tmp_path, few=head + "".join(lines))))
    assert (families, flag) == ({}, 1.0)
    assert f"m has more than {_textformat.LABELS} names of labels" in caplog.text


def test_what_is_no_file_is_refused_and_does_not_block(tmp_path, caplog):
    """A pipe, a folder and a dangling link under a name that ends in .prom are errors, and nobody waits for them."""
    os.mkfifo(tmp_path / "pipe.prom")
    (tmp_path / "folder.prom").mkdir()
    (tmp_path / "link.prom").symlink_to("nowhere")
    assert told(collector(write(tmp_path, good="a 1\n")))[0].keys() == {"a"}
    assert sorted(record.getMessage().rpartition("/")[2].partition(":")[0] for record in caplog.records) == [
        "folder.prom",
        "link.prom",
        "pipe.prom",
    ]


def test_helps_that_differ(tmp_path, caplog):
    """The first file's help wins, the later family is left out and raises the flag, and equal helps are no conflict."""
    texts = {"a": "one", "b": "two", "c": "one"}
    write(tmp_path, **{name: f'# HELP x {said}\nx{{file="{name}"}} 1\n' for name, said in texts.items()})
    textfile = collector(tmp_path)
    families, flag = told(textfile)
    assert (families["x"].help, families["x"].samples, flag) == ("one", {("a",): 1.0, ("c",): 1.0}, 1.0)
    assert read_files(textfile) == {"a.prom", "b.prom", "c.prom"}
    assert ["b.prom" in record.getMessage() for record in caplog.records] == [True]


def test_a_help_that_only_one_file_has_is_that_of_all(tmp_path):
    """A file without HELP joins the family of one that has it, whichever comes first."""
    write(tmp_path, a='x{file="a"} 1\n', b='# HELP x About x.\nx{file="b"} 1\n')
    families, flag = told(collector(tmp_path))
    assert (families["x"].help, len(families["x"].samples), flag) == ("About x.", 2, 0.0)


def test_kinds_that_differ(tmp_path, caplog):
    """Where files disagree about a metric's type the first wins, and the log names both."""
    write(tmp_path, a="# TYPE x gauge\nx 1\n", b="# TYPE x counter\nx 2\n")
    families, flag = told(collector(tmp_path))
    assert (families["x"].kind, families["x"].samples, flag) == ("gauge", {(): 1.0}, 1.0)
    assert "a.prom" in caplog.text
    assert "b.prom" in caplog.text


@pytest.mark.parametrize("files", [{"a": "x 1\nx 2\n"}, {"a": "x 1\n", "b": "x 2\n"}, {"a": 'x{l=""} 1\nx 2\n'}])
def test_the_same_series_twice(tmp_path, caplog, files):
    """Of two samples of one series the first is told, as node_exporter does; the flag and the log say so."""
    families, flag = told(collector(write(tmp_path, **files, z="y 1\n")))
    assert (list(families["x"].samples.values()), "y" in families, flag) == ([1.0], True, 1.0)
    assert len(caplog.records) == 1


def test_the_collectors_own_names_are_reserved(tmp_path):
    """A file cannot speak for the collector itself."""
    write(tmp_path, a="node_textfile_scrape_error 7\nx 1\n")
    families = [family for family in collector(tmp_path).collect() if family.name == "node_textfile_scrape_error"]
    assert [family.samples for family in families] == [{(): 1.0}]


REFUSED = [
    *(
        "x",
        "x 1",
        "x 1 ",
        "x 1 \n",
        "x 1 1700000000\n",
        "x 1 y\n",
        "x y\n",
        "x 1\r\n",
        "x 1_0\n",
        "x 0x1p4\n",
        "x 1e999\n",
    ),
    *("x +nan\n", "x infinit\n", "x \u0661\n", "1x 1\n", "x-y 1\n", "# HELP x y", "#", "# a comment"),
    *(
        'x{a="1"\n',
        'x{a="1" b="2"} 1\n',
        "x{a=1} 1\n",
        "x{,} 1\n",
        'x{1a="1"} 1\n',
        'x{a:b="1"} 1\n',
        'x{a="1",a="2"} 1\n',
    ),
    *('x{a="\\t"} 1\n', 'x{a="b\n"} 1\n', 'x{__a="1"} 1\n', 'x{a="\\"} 1\n', b'x{a="\xff"} 1\n'),
    *("# TYPE x gauge\n# TYPE x gauge\nx 1\n", "x 1\n# TYPE x gauge\n", "# TYPE x unknown\n", "# TYPE x gauge \nx 1\n"),
    *(
        "# HELP x y\n# HELP x y\nx 1\n",
        "# HELP x a\\tb\nx 1\n",
        "# HELP x a\\\nx 1\n",
        "# TYPE 1 gauge\n",
        "# HELP x-y z\n",
    ),
    *(
        '# TYPE x histogram\nx_bucket{le="y"} 1\n',
        "# TYPE x histogram\nx_count -1\n",
        '# TYPE x summary\nx{quantile="y"} 1\n',
    ),
    *(
        "# TYPE x histogram\n# TYPE x_count gauge\n",
        "# TYPE x gauge_histogram\nx 1\n",
        "# TYPE x summary\nx_count -1\n",
    ),
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_prometheus_refuses_is_refused(text):
    """Whatever Prometheus's own parser refuses, or makes node_exporter fail, is refused with the line's number."""
    with pytest.raises(ValueError, match=r"^line \d+: "):
        parse(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("", {}),
        ("\n  \n# comment\n#\n# HELP\n# TYPE x\n   ", {}),
        ("# HELP x y\n# TYPE x gauge\n", {}),
        ("\t x\t+1e3\n", {(): 1000.0}),
        ("x+1\n", {(): 1.0}),
        ("x{} -Inf\n", {(): -math.inf}),
        ("x .5\n", {(): 0.5}),
        ('x{ a = "1" , }2\n', {("1",): 2.0}),
        ('x{a="{,=}\\n\\"\\\\"} 1\n', {('{,=}\n"\\',): 1.0}),
        ('# TYPE x Gauge\nx{le="1"} 1\nx{le="é"} 2\n', {("1",): 1.0, ("é",): 2.0}),
        ('#TYPE x histogram\nx_sum 3\nx{le="1"} 2\n', {(): Histogram(buckets=((1.0, 2.0),), count=0.0, sum=3.0)}),
        ('# TYPE x histogram\nx_bucket{le="NaN"} 2\n', {(): Histogram(buckets=(), count=0.0, sum=0.0)}),
    ],
)
def test_what_prometheus_accepts_is_read(text, samples):
    """Unusual texts that Prometheus's own parser accepts mean here what they mean there."""
    families = parse(text.encode()).families
    assert [family.samples for family in families] == ([samples] if samples else [])


def test_suffixes_belong_to_a_family_only_after_its_type():
    """A line x_count is one of summary x when x was declared before, and otherwise a metric of its own."""
    before = parse(b"x_count 1\n# TYPE x summary\nx_sum 2\n").families
    assert [(family.name, family.kind) for family in before] == [("x_count", "unknown"), ("x", "summary")]
    after = parse(b"# TYPE x summary\nx_count 1\nx_bucket 3\n").families
    assert [(family.name, family.kind) for family in after] == [("x", "summary"), ("x_bucket", "unknown")]


def test_helps_are_unescaped():
    """In a HELP a line break, a backslash and a quote may be escaped; what is no UTF-8 is replaced."""
    assert [f.help for f in parse(b'# HELP x a\\nb\\\\c\\"d\xff\nx 1\n').families] == ['a\nb\\c"d\ufffd']


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,5}", fullmatch=True)
LABELS = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,3}", fullmatch=True), st.text(max_size=5), max_size=3)


def escaped(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


@EASY
@given(NAMES, LABELS, st.floats())
def test_what_is_written_is_read(name, labels, value):
    """Whatever name, labels and value a sample has, they come out as they went in."""
    inside = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
    (family,) = parse(f"{name}{{{inside}}} {value!r}\n".encode()).families
    assert (family.name, family.label_names) == (name, tuple(labels))
    assert [repr(number) for number in family.samples.values()] == [repr(value)]
    assert list(family.samples) == [tuple(labels.values())]


@EASY
@given(
    st.one_of(
        st.binary(max_size=100), st.integers(0, 800).map(lambda n: (FIXTURES / "second/charger.prom").read_bytes()[:n])
    )
)
@example(b"x " + b"9" * 5000 + b"\n")
@example(b"x{" * 2000)
def test_any_text_is_read_or_refused(text):
    """Binary, truncated and empty texts give an answer or ValueError, and nothing else."""
    for wrapped in (text, text + b"\n", b'x{a="' + text, b"# TYPE x histogram\nx_bucket{" + text + b"\n"):
        with suppress(ValueError):
            parse(wrapped)


CASES = {
    "no_metric_files": ["no_metric_files"],
    "two_metric_files": ["two_metric_files"],
    "nonexistent_path": ["nonexistent_path"],
    "client_side_timestamp": ["client_side_timestamp"],
    "different_metric_types": ["different_metric_types"],
    "inconsistent_metrics": ["inconsistent_metrics"],
    "histogram": ["histogram"],
    "histogram_extra_dimension": ["histogram_extra_dimension"],
    "summary": ["summary"],
    "summary_extra_dimension": ["summary_extra_dimension"],
    "glob_extra_dimension": ["*_extra_dimension"],
    "metrics_merge_empty_help": ["metrics_merge_empty_help"],
    "metrics_merge_no_help": ["metrics_merge_no_help"],
    "metrics_merge_same_help": ["metrics_merge_same_help"],
    "metrics_merge_different_help": ["metrics_merge_different_help"],
}


@pytest.fixture(scope="module")
def oracle(shared, tmp_path_factory):
    """Return the folder with node_exporter's own textfiles, and what it says about each of their folders."""
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "fixtures").mkdir()
    subprocess.run(
        ["tar", "-xzf", str(shared / "node_exporter" / "fixtures.tar.gz"), "-C", str(folder / "fixtures")], check=True
    )
    for file in folder.glob("fixtures/textfile/*/*"):
        os.utime(file, (1, 1))  # the moment that node_exporter's own run pretends
    return folder


def flat(families):
    """Return samples of families as the text format has them: name and labels, to values."""
    series = {}
    for family in families:
        for key, value in family.samples.items():
            labels = {name: text for name, text in zip(family.label_names, key, strict=True) if text is not None}

            def add(suffix, number, labels=labels, name=family.name, **more):
                series[name + suffix, frozenset((labels | more).items())] = number

            if isinstance(value, float):
                add("", value)
                continue
            points = value.buckets if isinstance(value, Histogram) else value.quantiles
            for bound, number in points:
                if isinstance(value, Histogram):
                    add("_bucket", number, le=bound)
                else:
                    add("", number, quantile=bound)
            add("_sum", value.sum)
            add("_count", value.count)
    return series


def expected(text):
    """Return samples of a text of node_exporter's in the same form, read by prometheus_client."""
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            bounds = {n: float(v) for n, v in sample.labels.items() if n in ("le", "quantile")}
            series[sample.name, frozenset((sample.labels | bounds).items())] = sample.value
    return series


@pytest.mark.parametrize("name", CASES)
def test_node_exporters_own_cases(oracle, monkeypatch, name):
    """Every sample and type that node_exporter tells for its own textfiles is told, and no other."""
    monkeypatch.chdir(oracle)
    text = (oracle / f"fixtures/textfile/{name}.out").read_text()
    families = collector(*(f"fixtures/textfile/{folder}" for folder in CASES[name])).collect()
    assert flat(families) == expected(text)
    kinds = {family.name: {"unknown": "untyped"}.get(family.kind, family.kind) for family in families}
    assert kinds == dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_every_case_of_node_exporters_is_covered(oracle):
    """No folder of its textfiles, and no expected result, is left out above."""
    folder = oracle / "fixtures" / "textfile"
    assert {file.stem for file in folder.glob("*.out")} == set(CASES)
    assert {path.name for path in folder.iterdir() if path.is_dir()} <= set(CASES)


def test_undecodable_paths_are_told(tmp_path):
    """A folder whose name is no UTF-8 is read, and its path is shown with replacement characters."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    shutil.copy(FIXTURES / "first/backup.prom", folder / "x.prom")
    families = collector(folder).collect()
    (mtime,) = (family for family in families if family.name == "node_textfile_mtime_seconds")
    assert next(iter(mtime.samples))[0].endswith("/\ufffd/x.prom")
    assert all(family.help.encode() for family in families)

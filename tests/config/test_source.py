"""Files on disk -> one tree with the origin of each value."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import source
from agentd.config.problems import Origin
from agentd.config.source import Document, find, read, reference


@pytest.fixture
def write(tmp_path):
    def write(**files):
        """Write agentd.toml (``main``) and files of conf.d (by name), and return the path of the first."""
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, content in files.items():
            path = tmp_path / "agentd.toml" if name == "main" else tmp_path / "conf.d" / f"{name}.toml"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "agentd.toml"

    return write


def test_no_file_is_an_empty_document():
    """Without a file nothing is set and nothing is wrong."""
    assert read(None) == Document()


def test_later_files_win_key_by_key(write):
    """Tables merge, values are replaced with their origins, and files are read in order of name."""
    main = write(
        main='[agent]\nlog_level = "info"\nplugin_dirs = ["/a", "/b"]\n[host]\nprocfs = "/p"\n',
        b='[agent]\nlog_level = "error"\n',
        a='[agent]\nlog_level = "debug"\nplugin_dirs = ["/c"]\nlabels.site = "x"\n',
    )
    document = read(main)
    folder = main.parent / "conf.d"
    assert document.values == {
        "agent": {"log_level": "error", "plugin_dirs": ["/c"], "labels": {"site": "x"}},
        "host": {"procfs": "/p"},
    }
    assert document.files == (main, folder / "a.toml", folder / "b.toml")
    assert document.origins[("agent", "log_level")] == Origin(str(folder / "b.toml"), 2)
    assert document.origins[("agent", "plugin_dirs", "0")] == Origin(str(folder / "a.toml"), 3)
    assert ("agent", "plugin_dirs", "1") not in document.origins
    assert document.origins[("host", "procfs")] == Origin(str(main), 5)


def test_enable_and_disable_unite(write):
    """Each name is there once, with the line that first says it; a list of that name deeper down is replaced."""
    main = write(
        main='[collectors]\nenable = ["a", "b"]\n[collectors.x]\nenable = ["p"]\n',
        more='[collectors]\nenable = [\n "b",\n "c"]\ndisable = ["d"]\n[collectors.x]\nenable = ["q"]\n',
    )
    document = read(main)
    more = str(main.parent / "conf.d" / "more.toml")
    assert document.values["collectors"] == {"enable": ["a", "b", "c"], "disable": ["d"], "x": {"enable": ["q"]}}
    assert document.origins[("collectors", "enable", "1")] == Origin(str(main), 2)
    assert document.origins[("collectors", "enable", "2")] == Origin(more, 4)


def test_a_reference_is_replaced_and_not_merged(write):
    """{ env } in one file and { file } in another are two values, not one table of both."""
    main = write(main='[collectors.x]\nkey = { file = "/a" }\n', more='[collectors.x]\nkey = { env = "B" }\n')
    assert read(main).values["collectors"]["x"]["key"] == {"env": "B"}


def test_a_table_and_a_value_replace_each_other(write):
    """Where the kind of value changes, the later file's stays, with its origins alone."""
    main = write(main="[agent.labels]\na = 'x'\n", more="[agent]\nlabels = 5\n")
    document = read(main)
    assert document.values == {"agent": {"labels": 5}}
    assert ("agent", "labels", "a") not in document.origins


def test_files_of_editors_are_left_out(write):
    """Hidden files and those of other endings in conf.d are no configuration."""
    main = write(main="", **{".#x": "a = 1", "~": "b = 1"})
    (main.parent / "conf.d" / "y.toml~").write_text("c = 1")
    assert read(main).values == {"b": 1}


def test_all_files_are_checked_and_what_can_be_used_is(write):
    """Each file that is no TOML or not UTF-8 is named with its line, and the values of the others are there."""
    main = write(main="[agent]\na = 1\nb = \n", latin=b"[host]\nprocfs = '\xe9'\n", ok="[web]\nlisten = []\n")
    document = read(main)
    folder = main.parent / "conf.d"
    assert [str(problem) for problem in document.problems] == [
        f"{main}:3: not valid TOML: Invalid value (column 5)",
        f"{folder / 'latin.toml'}:2: not UTF-8",
    ]
    assert document.values == {"web": {"listen": []}}


def test_a_file_that_is_not_there(tmp_path):
    """The path is named, and conf.d beside it is read all the same."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.toml").write_text("x = 1")
    document = read(tmp_path / "agentd.toml")
    assert [str(problem) for problem in document.problems] == [f"{tmp_path / 'agentd.toml'}: no such file"]
    assert document.values == {"x": 1}


def test_a_folder_instead_of_a_file(tmp_path):
    """The system's reason is given where a file cannot be read."""
    [problem] = read(tmp_path).problems
    assert str(problem) == f"{tmp_path}: cannot be read: Is a directory"


def test_every_kind_of_broken_file_at_once(write):
    """A missing file, a folder, one that is not UTF-8 and one that is no TOML are four problems, in order of name."""
    main = write(c=b"a = '\xff'", d="a = [\n", e="[web]\nlisten = []\n")
    folder = main.parent / "conf.d"
    (folder / "b.toml").mkdir()
    document = read(main)
    assert [str(problem).split(" (")[0] for problem in document.problems] == [
        f"{main}: no such file",
        f"{folder / 'b.toml'}: cannot be read: Is a directory",
        f"{folder / 'c.toml'}:1: not UTF-8",
        f"{folder / 'd.toml'}:2: not valid TOML: Invalid value",
    ]
    assert document.values == {"web": {"listen": []}}


def test_nesting_without_end(write):
    """A file that nests thousands deep is a problem and no crash."""
    [problem] = read(write(main="a = " + "[" * 5000)).problems
    assert problem.message == "arrays or tables are nested too deeply"


def test_a_number_of_thousands_of_digits(write):
    """What the parser cannot make a number of is a problem of that file."""
    [problem] = read(write(main="a = " + "9" * 5000)).problems
    assert problem.message.startswith("not valid TOML: ")


def test_a_byte_order_mark_is_no_error(write):
    """Files of editors on Windows begin with one."""
    assert read(write(main=b"\xef\xbb\xbfa = 1\r\n")).values == {"a": 1}


def test_finding_the_file(tmp_path, monkeypatch):
    """The file asked for is taken though it does not exist; the default one only where it does."""
    monkeypatch.setattr(source, "DEFAULT_FILE", tmp_path / "agentd.toml")
    assert find("/nowhere.toml") == Path("/nowhere.toml")
    assert find(None) is None
    (tmp_path / "agentd.toml").write_text("")
    assert find(None) == tmp_path / "agentd.toml"


def test_a_default_file_that_cannot_be_looked_at_is_not_passed_over(tmp_path, monkeypatch):
    """Running with defaults where there may be a configuration would be a surprise: reading it says what is wrong."""
    monkeypatch.setattr(source, "DEFAULT_FILE", tmp_path / ("x" * 300))
    [problem] = read(find(None)).problems
    assert problem.message == "cannot be read: File name too long"


def test_overriding(write):
    """A value of the command line stands in the place of the file's, with its own origin, and nothing else changes."""
    before = read(write(main='[web]\nlisten = ["a", "b"]\n[agent]\nlog_level = "info"\n'))
    after = before.override({("web", "listen"): ([":1"], Origin("--listen")), ("x", "y", "z"): (1, Origin("me"))})
    assert after.values == {"web": {"listen": [":1"]}, "agent": {"log_level": "info"}, "x": {"y": {"z": 1}}}
    assert str(after.origin(("web", "listen", "0"))) == "--listen"
    assert str(after.origin(("x", "y"))) == "me"
    assert before.values["web"] == {"listen": ["a", "b"]}
    assert ("web", "listen", "1") in before.origins


def test_origins_are_those_of_the_innermost_table_that_has_one(write):
    """A value that no file names gets the place of the table that it would stand in; without one, none."""
    document = read(main := write(main="\n[collectors.x]\n"))
    assert document.origin(("collectors", "x", "url")) == Origin(str(main), 2)
    assert document.origin(("web", "listen")) is None


def test_a_document_does_not_show_its_values(write):
    """Values may be secrets: repr and str name the files only."""
    document = read(write(main='password = "hunter2"'))
    assert "hunter2" not in f"{document!r} {document}"


@pytest.mark.parametrize(
    ("value", "refers"),
    [
        ({"env": "A"}, ("env", "A")),
        ({"file": "/a"}, ("file", "/a")),
        ({"env": 5}, None),
        ({"env": "A", "file": "/a"}, None),
        ({"other": "A"}, None),
        ({}, None),
        ("env", None),
    ],
)
def test_what_is_a_reference(value, refers):
    """A table with the one key env or file, and a string behind it."""
    assert reference(value) == refers


@given(st.binary(max_size=200) | st.text(st.sampled_from("[]{}=.,'\"#\\ \na1é"), max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_values_or_a_problem(tmp_path_factory, content):
    """Reading never raises, and says what is wrong wherever it gives nothing."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    document = read(file)
    assert not (document.values and document.problems)
    assert all(problem.where.file == str(file) for problem in document.problems)

"""The last configuration that could be used, in a folder in which others may have been."""

import os
import stat

import pytest

from agentd.config.kept import keep, kept
from agentd.config.source import Document

SECRET = Document({"sinks": {"fleet": {"password": "canary"}}})


@pytest.fixture
def file(tmp_path):
    """Where it is kept."""
    return tmp_path / "configuration.json"


@pytest.mark.parametrize("name", ["configuration.json", "configuration.new"])
@pytest.mark.parametrize("link", [False, True])
def test_nobody_else_reads_it(file, name, link):
    """A file or a link that was there before neither gets the secrets nor decides who reads them."""
    theirs, before = file.parent / "theirs", file.parent / name
    theirs.write_text("theirs")
    if link:
        before.symlink_to(theirs)
    else:
        before.write_text("old")
        before.chmod(0o666)
    keep(SECRET, file)
    assert theirs.read_text() == "theirs"
    assert file.lstat().st_mode == stat.S_IFREG | 0o600
    assert kept(file).values == SECRET.values
    assert sorted(os.listdir(file.parent)) == ["configuration.json", "theirs"]


def test_what_others_can_read_is_kept_anew(file):
    """A copy that says the same but that others may read is replaced by one that they may not."""
    keep(SECRET, file)
    file.chmod(0o644)
    keep(SECRET, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_has_not_changed_is_not_written_again(file):
    """A start and a reload that change nothing leave the file as it is."""
    keep(SECRET, file)
    before = file.stat().st_ino
    keep(SECRET, file)
    assert file.stat().st_ino == before

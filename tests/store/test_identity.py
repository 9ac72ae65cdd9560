"""Who an agent is, over restarts, clones and broken files."""

import os
import uuid

import pytest

from agentd.store import identity
from agentd.store.identity import GENERATION, Identity

MACHINE, OTHER = "a" * 32, "b" * 32


def test_an_agent_stays_who_it_is(tmp_path):
    """The id that was made at the first start is the one of every later start."""
    first = identity.load(tmp_path, MACHINE)
    assert uuid.UUID(first.agent_id)
    assert identity.load(tmp_path, MACHINE) == first


def test_a_clone_is_somebody_else(tmp_path):
    """A state directory that was copied to another machine gives a new id, and keeps count of its journals."""
    identity.save(tmp_path, Identity(str(uuid.uuid4()), MACHINE, 5))
    first, clone = identity.load(tmp_path, MACHINE), identity.load(tmp_path, OTHER)
    assert clone.agent_id != first.agent_id
    assert clone.generation == 5
    assert identity.load(tmp_path, OTHER) == clone


def test_a_machine_that_gets_its_id_later_is_no_clone(tmp_path):
    """An id that was made while the machine had none of its own is kept, and so is one while it has lost it."""
    first = identity.load(tmp_path, "")
    assert identity.load(tmp_path, MACHINE).agent_id == first.agent_id
    assert identity.load(tmp_path, "").agent_id == first.agent_id


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"null", b"[]", b'{"agent_id":""}', b'{"agent_id":"x"}', b'{"agent_id":7}', b"\0" * 99,
        b'{"agent_id":"0198b2a4-0000-7000-8000-000000000000","generation":99999999}',
    ],
)  # fmt: skip
def test_a_broken_file_counts_as_none(tmp_path, content):
    """Whatever is in the file that makes no sense, there is a new id, which is kept."""
    (tmp_path / "agent.json").write_bytes(content)
    found = identity.load(tmp_path, MACHINE)
    assert uuid.UUID(found.agent_id)
    assert identity.load(tmp_path, MACHINE) == found


def test_each_journal_has_numbers_above_the_one_before():
    """What a journal may have given out is never given out by the next, though its count was lost."""
    who = Identity("a")
    assert who.first == 0
    first = who.next_journal(0)
    assert first.first == 0
    second = first.next_journal(17)
    assert second.first == GENERATION
    assert Identity("a").next_journal(3 * GENERATION + 5).first == 4 * GENERATION
    assert second.next_journal(2).first == 2 * GENERATION


def test_a_machine_that_is_being_installed_has_no_id(tmp_path):
    """``uninitialized``, nothing, or anything else that is no machine id counts as none."""
    (tmp_path / "etc").mkdir()
    for content, expected in ((f"{MACHINE}\n", MACHINE), ("uninitialized\n", ""), ("", ""), ("x" * 32, "")):
        (tmp_path / "etc/machine-id").write_text(content)
        assert identity.machine_id(tmp_path) == expected
    assert identity.machine_id(tmp_path / "nowhere") == ""


def test_what_was_kept_is_whole_or_the_old(tmp_path, monkeypatch):
    """Where the new file cannot be put in place, the old one still counts."""
    first = identity.load(tmp_path, MACHINE)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        identity.save(tmp_path, Identity("another"))
    assert identity.load(tmp_path, MACHINE) == first


def test_a_link_in_its_place_is_not_followed(tmp_path):
    """What somebody has put where the file is made is replaced, and what it leads to stays as it is."""
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "agent.new").symlink_to(theirs)
    first = identity.load(tmp_path, MACHINE)
    assert theirs.read_text() == "theirs"
    assert identity.load(tmp_path, MACHINE) == first

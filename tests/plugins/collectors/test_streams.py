"""Where readers of streams stand, and what they find missing, without a server."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agentd_plugins.collectors._streams.position import Info, Position, info, number


class Stream:
    """A stream as Redis 7 keeps one."""

    def __init__(self):
        self.entries = []
        self.added = 0

    def info(self):
        """Return what XINFO STREAM tells."""
        first = self.entries[0][0] if self.entries else None
        return Info(b"%d-0" % self.added, len(self.entries), self.added, first)

    def add(self, many):
        """Add entries."""
        for _ in range(many):
            self.added += 1
            self.entries.append((b"%d-0" % self.added, []))

    def trim(self, length):
        """Keep the newest."""
        self.entries = self.entries[len(self.entries) - min(length, len(self.entries)) :]

    def after(self, id_, count):
        """Return what XREAD returns."""
        return [entry for entry in self.entries if number(entry[0]) > number(id_)][:count]


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 20)),
    st.tuples(st.just("trim"), st.integers(0, 10)),
    st.tuples(st.just("read"), st.integers(1, 15)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
)


@given(st.lists(STEPS, max_size=40), st.integers(0, 20), st.booleans())
@settings(max_examples=300, deadline=None)
def test_read_and_lost_come_to_what_was_added(steps, before, beginning):
    """However adding, trimming, reading, looking and restarting mix: what was read or lost is all that there was."""
    stream = Stream()
    stream.add(before)
    stream.trim(5)
    position = Position.new(stream.info(), beginning=beginning)
    skipped = before - len(stream.entries) if beginning else before
    read = 0

    def take(count):
        nonlocal read
        entries = stream.after(position.id, count)
        position.read(entries, all_there_was=len(entries) < count)
        read += len(entries)
        return len(entries) == count

    for what, how_many in steps:
        if what == "add":
            stream.add(how_many)
        elif what == "trim":
            stream.trim(how_many)
        elif what == "read":
            take(how_many)
        elif what == "look":
            position.look(stream.info())
        else:
            position = Position.load(position.save())
        assert read + position.lost <= stream.added - skipped
    position.look(stream.info())
    while take(10):
        pass
    position.look(stream.info())
    assert read + position.lost == stream.added - skipped


def test_an_answer_of_redis_7_and_one_of_redis_6():
    """What XINFO STREAM answers is understood with and without the number of entries that were ever added."""
    entry = [b"1-0", [b"a", b"b"]]
    answer = [b"length", 2, b"last-generated-id", b"3-0", b"first-entry", entry, b"last-entry", [b"3-0", []]]
    assert info(answer) == Info(b"3-0", 2, None, b"1-0")
    assert info([*answer, b"entries-added", 7]) == Info(b"3-0", 2, 7, b"1-0")
    assert info([b"length", 0, b"last-generated-id", b"3-0", b"first-entry", None]).first is None


def test_a_server_that_does_not_count_finds_no_number():
    """Without the number of entries that were ever added there is no claim about what was lost."""
    position = Position.new(Info(b"5-0", 5, None, b"1-0"), beginning=True)
    position.read([(b"1-0", [])], all_there_was=False)
    assert not position.look(Info(b"9-0", 1, None, b"9-0"))
    position.read([(b"9-0", [])], all_there_was=True)
    assert (position.lost, position.added) == (0, None)


def test_another_stream_under_the_same_name():
    """A stream whose last id is lower than where the reader stands is another one, which is read from its beginning."""
    position = Position(b"100-0", 100)
    assert position.look(Info(b"3-0", 3, 3, b"1-0"))
    assert (position.id, position.added, position.gaps, position.lost) == (b"0-0", 0, 1, 0)

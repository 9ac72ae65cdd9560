"""Who held up the agent rests, for longer each time, and comes back."""

import pytest

from agentd.resting import FIRST, LONGEST, Resting


class Wall:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """The time."""
    return Wall()


@pytest.fixture
def start(tmp_path, clock):
    """Begins as at a start of the agent, with those who held it up, and returns who rests for how long."""
    return lambda *suspects: Resting(tmp_path / "resting.json", clock).begin(suspects)


def test_a_rest_outlives_starts_and_ends(start, clock):
    """Each start within it leaves the plugin out for what is left of it, and no start after it does."""
    assert start() == {}
    assert start("sinks.a") == {"sinks.a": FIRST}
    clock.now += FIRST / 2
    assert start("collectors.b") == {"sinks.a": FIRST / 2, "collectors.b": FIRST}
    clock.now += FIRST / 2
    assert start() == {"collectors.b": FIRST / 2}
    clock.now += FIRST / 2
    assert start() == {}


def test_each_further_rest_is_longer(start, clock):
    """Who does it again rests twice as long, for a day at most; who has not done it for a day begins anew."""
    found = []
    for _ in range(10):
        (seconds,) = start("collectors.a").values()
        found.append(seconds)
        clock.now += seconds + 60
    assert found[:4] == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert found[-1] == LONGEST
    clock.now += LONGEST
    assert start("collectors.a") == {"collectors.a": FIRST}


def test_one_that_is_looked_after_begins_anew(tmp_path, start, clock):
    """Whoever is forgotten does not rest any more, and is no repeater."""
    start("collectors.a", "collectors.b")
    resting = Resting(tmp_path / "resting.json", clock)
    resting.begin(())
    resting.forget("collectors.a")
    resting.forget("collectors.unknown")
    assert start() == {"collectors.b": FIRST}
    assert start("collectors.a")["collectors.a"] == FIRST


@pytest.mark.parametrize("step", [-1e8, 1e8])
def test_a_clock_that_is_set(start, clock, step):
    """Nobody rests longer than it is to, however wrong the clock was or is."""
    start("collectors.a")
    clock.now += step
    assert start().get("collectors.a", 0.0) <= FIRST


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"collectors.a": {"times": 0, "until": 1e18}}', b"[" * 100_000]
)
def test_a_file_that_cannot_be_read(tmp_path, start, content):
    """Nobody rests by it, and it is written anew when somebody does."""
    (tmp_path / "resting.json").write_bytes(content)
    assert start() == {}
    assert start("collectors.a") == {"collectors.a": FIRST}
    assert start() == {"collectors.a": FIRST}


def test_a_place_where_nothing_can_be_written(tmp_path, clock, caplog):
    """The plugin rests all the same, and the log says that the next start will not know."""
    resting = Resting(tmp_path / "no" / "folder" / "resting.json", clock)
    assert resting.begin(["collectors.a"]) == {"collectors.a": FIRST}
    assert "cannot write down" in caplog.text


def test_a_link_in_its_place_is_not_followed(tmp_path, start):
    """What somebody has put where the file is made is replaced, and what it leads to stays as it is."""
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "resting.new").symlink_to(theirs)
    assert start("collectors.slow") == {"collectors.slow": FIRST}
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "resting.json").is_symlink()
    assert start() == {"collectors.slow": FIRST}

"""The types of options: what they accept, what they say otherwise, and that they are written as they are read."""

import copy
import functools
import math
import pickle
import re
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.options import PARSED, Config, Duration, Regex, Secret, Size, Url, decode


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("15s", 15),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("7d", 604800),
        ("2w", 1209600),
        ("0s", 0),
        ("1m1m", 120),
    ],
)
def test_durations(text, seconds):
    """A duration is a number of seconds."""
    assert Duration.parse(text) == pytest.approx(seconds)
    assert isinstance(Duration.parse(text), Duration)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "15",
        "s",
        "-1s",
        "1 s",
        "1.s",
        ".5s",
        "1S",
        "1y",
        "1s ",
        "+1s",
        "\u0661s",
        "1.\u0661s",
        15,
        1.5,
        None,
        ["1s"],
    ],
)
def test_what_is_no_duration(value):
    """Anything else is refused with what would be right, a number without a unit too."""
    with pytest.raises(ValueError, match=r'^expected a duration with its unit, such as "250ms", "15s" or "1h30m"$'):
        Duration.parse(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (1.5, "1.5s"), (15, "15s"), (90, "90s"), (3600, "1h"), (86400, "1d"), (1209600, "2w")],
)
def test_durations_are_written_with_the_largest_unit_that_fits(seconds, text):
    """The text is one that is read as the same duration."""
    assert str(Duration(seconds)) == text
    assert Duration.parse(str(Duration(seconds))) == seconds


@given(st.integers(0, 10**9), st.sampled_from([1, 1000, 60_000, 3_600_000, 86_400_000]))
@settings(max_examples=100, deadline=None)
def test_durations_round_trip(number, milliseconds):
    """Any number of milliseconds, seconds, minutes, hours or days is read as what was written."""
    duration = Duration(number * milliseconds / 1000)
    assert Duration.parse(str(duration)) == pytest.approx(duration, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("512KiB", 512 * 1024),
        ("64 MiB", 64 * 2**20),
        ("1GB", 10**9),
        ("1.5KiB", 1536),
        ("2TiB", 2**41),
        ("1TB", 10**12),
    ],
)
def test_sizes(text, size):
    """A size is a number of bytes."""
    assert Size.parse(text) == size
    assert isinstance(Size.parse(text), Size)


@pytest.mark.parametrize(
    "value", ["", "64", "MiB", "-1B", "1 kB", "1M", "1.B", "1  B", "1iB", "\u0661B", 64, 1.5, True, None]
)
def test_what_is_no_size(value):
    """Anything else is refused with what would be right."""
    with pytest.raises(ValueError, match=r'^expected a size with its unit, such as "512KiB" or "64MiB"$'):
        Size.parse(value)


@given(st.integers(0, 2**59))
@settings(max_examples=100, deadline=None)
def test_sizes_round_trip(number):
    """Any size is written as what it is read from."""
    assert Size.parse(str(Size(number))) == number


def test_sizes_are_written_with_the_largest_unit_that_fits():
    """Powers of two and of ten each have their units."""
    assert [str(Size(number)) for number in (0, 1, 1000, 1024, 10**9, 3 * 2**30, 1025)] == [
        "0B", "1B", "1KB", "1KiB", "1GB", "3GiB", "1025B",
    ]  # fmt: skip


@given(st.from_regex(r"([0-9]{1,6}(\.[0-9]{1,3})?(ms|[smhdw])){1,3}", fullmatch=True))
@settings(max_examples=100, deadline=None)
def test_any_duration_that_is_read_can_be_written_and_read_again(text):
    """What the effective settings show of a duration is as good as what the file said."""
    duration = Duration.parse(text)
    assert Duration.parse(str(duration)) == pytest.approx(duration, rel=1e-9)


@given(st.from_regex(r"[0-9]{1,18} ?([KMGT]i?B|B)", fullmatch=True))
@settings(max_examples=100, deadline=None)
def test_any_whole_size_that_is_read_is_exact(text):
    """No byte is lost between the file, the number and what is shown of it."""
    number, unit = re.fullmatch(r"([0-9]+) ?(\w+)", text).groups()
    size = Size.parse(text)
    assert size == int(number) * Size.UNITS[unit]
    assert Size.parse(str(size)) == size


@given(
    st.sampled_from([Duration, Size]),
    st.text("0123456789.hmskKMGTiB -", max_size=8)
    | st.from_regex(r"[0-9]{1,4}(ms|[smhdw]| ?[KMGT]i?B|B)", fullmatch=True),
)
@settings(max_examples=200, deadline=None)
def test_what_is_called_with_a_text_takes_what_the_configuration_takes(type_, text):
    """A default in Python is spelt as in the configuration, and refused with the same words."""
    try:
        expected = type_.parse(text)
    except ValueError as error:
        with pytest.raises(ValueError, match=f"^{re.escape(str(error))}$"):
            type_(text)
    else:
        assert type_(text) == expected
        assert type(type_(text)) is type_


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (Duration(), 0.0),
        (Duration(15), 15.0),
        (Duration(True), 1.0),  # a number to Python, as it always was
        (Duration(math.inf), math.inf),
        (Duration(Duration("1h30m")), 5400.0),
        (Size(), 0),
        (Size(64 << 20), 64 << 20),
        (Size(1.5), 1),
        (Size(Size("64MiB")), 64 << 20),
    ],
)
def test_numbers_are_durations_and_sizes_as_they_are(given, value):
    """In Python a number is one of seconds or of bytes; it goes through a copy and a pickle."""
    assert given == value
    for other in (copy.deepcopy(given), pickle.loads(pickle.dumps(given))):
        assert (other, type(other)) == (given, type(given))


def test_the_default_of_an_option_is_written_as_in_the_configuration():
    """An author writes a duration and a size as their users do."""

    class Options(Config):
        every: Duration = Duration("10s")
        most: Size = Size("64MiB")

    assert Options() == Options(every=Duration(10), most=Size(64 << 20))
    assert msgspec.convert({"every": "10s", "most": "64MiB"}, Options, dec_hook=decode) == Options()


def test_regular_expressions():
    """They are searched for, compared by what they say, and show it."""
    regex = Regex.parse("^eth[0-9]+$")
    assert regex.search("eth12")
    assert not regex.search("veth1")
    assert (str(regex), repr(regex)) == ("^eth[0-9]+$", "Regex('^eth[0-9]+$')")
    assert regex == Regex("^eth[0-9]+$")
    assert regex != Regex("^eth")
    assert hash(regex) == hash(Regex("^eth[0-9]+$"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("(", "expected a regular expression: missing ), unterminated subpattern at position 0"),
        ("[[:digit:]]", "expected a regular expression: Possible nested set at position 1"),
        (5, 'expected a regular expression in quotes, such as "^eth[0-9]+$"'),
    ],
)
def test_what_is_no_regular_expression(value, message):
    """The position of the error is named."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Regex.parse(value)


@pytest.mark.parametrize(
    "text", ["http://localhost:8080/", "https://[::1]/x?y=z", "redis://:p@host:1/0", "unix:/run/x.sock"]
)
def test_urls(text):
    """A URL stays the text that it is."""
    url = Url.parse(text)
    assert url == text
    assert isinstance(url, Url)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "localhost",
        "localhost/x",
        "http://",
        "http:",
        "http://a:b/",
        "http://[::1/",
        " http://a/",
        "http://a/\nb",
        "http://a b/",
        5,
        None,
    ],
)
def test_what_is_no_url(value):
    """Without a scheme, without anything behind it, or with a port that is none, it is refused."""
    with pytest.raises(ValueError, match=r"^expected a URL"):
        Url.parse(value)


def test_secrets_are_not_shown():
    """No way of printing a secret shows it; only reveal does."""
    secret = Secret.parse("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} %s" % secret
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert hash(secret) == hash(Secret("hunter2"))


@pytest.mark.parametrize("written", ["{}", "{!r}", "{!s}", "{!a}", "{0:}"])
def test_secrets_are_not_formatted(written):
    """Every way of formatting shows the mark; one with a width is refused, without the text."""
    assert written.format(Secret("hunter2")) == "Secret(***)"
    with pytest.raises(TypeError) as caught:
        format(Secret("hunter2"), ">10")
    assert "hunter2" not in str(caught.value)


def test_secrets_are_no_texts():
    """A secret is equal to no text, so that none can be found by comparing, and has no attributes that show it."""
    assert Secret("hunter2") != "hunter2"
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_what_was_found_instead_of_a_secret_is_not_shown():
    """Somebody's secret may be a number."""
    with pytest.raises(ValueError, match="expected a text") as caught:
        Secret.parse(12345)
    assert "12345" not in str(caught.value)


def test_secrets_cannot_be_written_out():
    """msgspec, which writes all else as JSON, refuses."""
    with pytest.raises(TypeError):
        msgspec.json.encode({"password": Secret("hunter2")})


@pytest.mark.parametrize("type_", PARSED)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # Python says so of some expressions
@given(value=st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()))
@settings(max_examples=100, deadline=None)
def test_any_value_is_an_option_or_a_value_error(type_, value):
    """Nothing but ValueError is raised, whatever a file holds."""
    try:
        made = decode(type_, value)
    except ValueError:
        return
    assert isinstance(made, type_)


@pytest.mark.parametrize("type_", PARSED)
def test_what_is_made_already_stays(type_):
    """A value that has the type is not made again; a type that is none of these is not known."""
    made = type_.parse("1s" if type_ is Duration else "1B" if type_ is Size else "http://a/")
    assert decode(type_, made) is made
    with pytest.raises(NotImplementedError):
        decode(complex, 1)


def test_configs_are_frozen_and_refuse_unknown_fields():
    """Options cannot be changed behind the agent's back, nor set without being declared."""

    class Options(Config):
        pause: Duration = Duration(1)

    with pytest.raises(AttributeError):
        Options().pause = Duration(2)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"puase": "1s"}, Options, dec_hook=decode)
    assert msgspec.convert({"pause": "2s"}, Options, dec_hook=decode) == Options(pause=Duration(2))
    assert math.isclose(Options().pause, 1)


class Whole(Config):
    """Options beside which all stands that is none."""

    UNITS: ClassVar[tuple[str, ...]] = ("m", "km")
    _known = frozenset({"door"})
    path: str = "/run/door"
    number: int = msgspec.field(default=3)

    class Part(Config):
        """A table."""

        size: int = 1

    shout = functools.partialmethod(str.upper)
    twice = lambda self: self.number * 2  # noqa: E731  # as somebody may write it

    @property
    def folder(self):
        """What is made of an option."""
        return self.path.rpartition("/")[0]

    @functools.cached_property
    def name(self):
        """What is kept of an option."""
        return self.path

    @classmethod
    def usual(cls):
        """Return one."""
        return cls()

    @staticmethod
    def nothing():
        """Return nothing."""


def test_what_is_no_option_may_stand_beside_options():
    """Methods, properties, classes, constants that say so and private names are no fields, and no errors."""
    assert Whole.__struct_fields__ == ("path", "number")
    assert (Whole.usual().folder, Whole.UNITS, Whole().twice()) == ("/run", ("m", "km"), 6)


@pytest.mark.parametrize("base", [Config, Whole])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("/run/door", "str"),
        (None, "str"),
        (msgspec.field(default="/run/door"), "str"),
        (3, "int"),
        (Duration("15s"), "Duration"),
        (Regex("a"), "Regex"),
    ],
)
def test_a_value_without_a_type_is_an_error(base, value, kind):
    """It would be no option, or hide the one of a base class for ever: the class cannot be made, and it is said why."""
    with pytest.raises(TypeError, match=rf"^DoorConfig\.path has no type: write `path: {kind} = …`$"):
        type(Config)("DoorConfig", (base,), {"path": value})

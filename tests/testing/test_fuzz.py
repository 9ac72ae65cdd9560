"""The fuzz helper finds a collector that does not bear odd files, and lets one be that does."""

import threading

import pytest

from agentd.plugin import Collector, Config, Family, NoData
from agentd.testing import Hang, fuzz_collector
from agentd.testing.faults import ERRORS


class Options(Config):
    """Options."""


class Sound(Collector[Options]):
    """Tells a temperature, as far as there is one."""

    name = "sound"
    blocking = False

    def collect(self):
        text = self.host.sys("class/thermal/t0/temp")
        if not text.isdigit() or len(text) > 9:
            raise NoData("no temperature")
        return [Family.gauge("sound_celsius", "Temperature.", int(text) / 1000)]


FILES = {"sys": {"class/thermal/t0/temp": "42000\n"}}


def refused(collect, **files):
    """Return by what a collector that collects like this is refused."""
    made = type("Bad", (Sound,), {"__doc__": "Bad.", "collect": collect})
    with pytest.raises(AssertionError) as error:
        fuzz_collector(made, **(files or FILES))
    return str(error.value)


def told(value):
    """Return an answer."""
    return [Family.gauge("sound_celsius", "Temperature.", value)]


def test_a_sound_collector_passes():
    """It suffers each kind of fault; how much was tried is told, and is the same each time."""
    found = fuzz_collector(Sound, **FILES)
    assert (found.files, found.refused) == (1, len(ERRORS))
    assert found.faults > 20
    assert fuzz_collector(Sound, **FILES, limit=1).faults == 4


def test_an_error_that_does_not_name_the_file_is_found():
    """A plain ValueError of a parser says nothing of where."""
    said = refused(lambda self: told(float(self.host.sys("class/thermal/t0/temp"))))
    assert "class/thermal/t0/temp holds b'': the error does not name the file: ValueError" in said
    assert "told" not in said


def test_any_other_error_is_found():
    """One that nobody would expect of a broken file."""
    said = refused(lambda self: told(int(self.host.proc("loadavg").split()[0]) / 1.0), proc={"loadavg": "1 2"})
    assert "proc/loadavg holds b'': it raises IndexError: list index out of range (at " in said


def test_numbers_that_are_none_are_found():
    """What a driver answered as ``nan`` must not become a value."""

    def collect(self):
        try:
            return told(float(self.host.sys("class/thermal/t0/temp")))
        except ValueError:
            return []

    assert "holds b'nan\\n': it tells sound_celsius[] as nan" in refused(collect)


def test_what_is_remembered_for_ever_is_found():
    """A collector that goes on telling less when all is well again."""

    def collect(self):
        try:
            text = self.host.sys("class/thermal/t0/temp")
        except OSError:
            self.broken = True
            raise
        return [] if hasattr(self, "broken") or not text.isdigit() or len(text) > 9 else told(float(text))

    assert "with no file broken any more, it tells other series than before" in refused(collect)


def test_what_keeps_it_from_telling_anything_is_found_where_it_may_not():
    """``may_fail`` says of which files an error is accepted."""

    def collect(self):
        text = self.host.sys("class/thermal/t0/temp")
        if not text.isdigit() or len(text) > 9:
            raise ValueError(f"{self.host.paths.sysfs}/class/thermal/t0/temp: no number")
        return told(float(text))

    made = type("Strict", (Sound,), {"collect": collect})
    assert fuzz_collector(made, **FILES).refused > 10
    with pytest.raises(AssertionError, match="it tells nothing at all for that"):
        fuzz_collector(made, **FILES, may_fail=lambda path: "thermal" not in path)


def test_files_that_a_plugin_opens_itself_are_broken_too():
    """Of those of ``files``, the content is another, or they are gone."""

    def collect(self):
        return told(float(self.host.path("etc/door").read_text("latin-1")))

    assert "etc/door answers ENOENT" not in refused(collect, files={"etc/door": "1"})
    assert "etc/door holds b'': the error does not name" in refused(collect, files={"etc/door": "1"})


def test_one_that_hangs_is_told_with_the_file():
    """What was broken when it did not end any more is in the message."""
    end = threading.Event()

    def collect(self):
        if not self.host.sys("class/thermal/t0/temp").isdigit():
            end.wait(60)
        return told(1.0)

    made = type("Stuck", (Sound,), {"collect": collect})
    with pytest.raises(Hang, match=r"Stuck\.collect\(\), while \S+/temp \w+ .*, is not done after 2 s"):
        fuzz_collector(made, **FILES, hangs_after=2)
    end.set()
    for thread in threading.enumerate():
        if thread.name == "agentd-testing":
            thread.join(60)


def test_a_collector_that_reads_nothing_cannot_be_tried():
    """It is said, and not taken for a success."""
    assert "nothing can be broken" in refused(lambda _self: told(1.0))

"""A name that will go works as before, and says what to use instead."""

import logging
import sys
import textwrap
import warnings

import pytest

import agentd.plugin
from agentd.plugin import deprecated as module
from agentd.plugin.deprecated import NAMES, Deprecated, deprecated, lookup
from agentd.registry import Registry

OLD = {"OldCollector": Deprecated("0.5", "Collector"), "thing": Deprecated("0.6", "nothing: it is gone", 7)}


def test_a_deprecated_name_is_the_new_one(monkeypatch, caplog):
    """Who imports it gets what took its place, a warning with the place in their own file, and a line in the log."""
    monkeypatch.setattr(module, "NAMES", OLD)
    code = compile("\nfrom agentd.plugin import OldCollector", "door.py", "exec")
    names = {"__name__": "door"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(code, names)
    assert names["OldCollector"] is agentd.plugin.Collector
    text = "agentd.plugin.OldCollector is deprecated since agentd 0.5, and will go: use Collector"
    assert [(str(each.message), each.category, each.filename, each.lineno) for each in caught] == [
        (text, DeprecationWarning, "door.py", 2)
    ]
    assert [record.getMessage() for record in caplog.records] == [f"door.py, line 2: {text}"]


def test_a_name_that_nothing_took_the_place_of(monkeypatch):
    """It is what it was, and the warning has words in place of a name."""
    monkeypatch.setattr(module, "NAMES", OLD)
    with pytest.warns(DeprecationWarning, match="use nothing: it is gone"):
        assert agentd.plugin.thing == 7


def test_a_name_that_there_never_was():
    """It is no attribute, and cannot be imported, as of any other module."""
    assert not hasattr(agentd.plugin, "NoSuchThing")
    with pytest.raises(AttributeError, match="no attribute 'NoSuchThing'"):
        lookup("NoSuchThing", OLD, {})
    with pytest.raises(ImportError):
        exec("from agentd.plugin import NoSuchThing")


def test_a_deprecated_method_works_and_warns(caplog):
    """A method or a function that is marked does what it did, and each caller is told, where the call stands."""

    class Old:
        @deprecated("0.5", "ask()")
        def gather(self, number, *, twice=False):
            """Say a number."""
            return number * (2 if twice else 1)

    with pytest.warns(
        DeprecationWarning, match=r"Old\.gather\(\) is deprecated since agentd 0.5.*use ask\(\)"
    ) as caught:
        assert Old().gather(2, twice=True) == 4
    assert caught[0].filename == __file__
    assert Old.gather.__doc__ == "Say a number."
    assert __file__ in caplog.text


def test_a_plugin_that_uses_a_deprecated_name_runs(monkeypatch, tmp_path, caplog):
    """Its file is loaded as ever; the log says which line of it to change."""
    monkeypatch.setattr(module, "NAMES", OLD)
    file = tmp_path / "door.py"
    file.write_text(
        textwrap.dedent(
            """
            from agentd.plugin import Config, OldCollector, hookimpl

            class Door(OldCollector[Config]):
                name = "door"

            @hookimpl
            def agentd_collectors():
                return [Door]
            """
        )
    )
    caplog.set_level(logging.WARNING)
    with pytest.warns(DeprecationWarning, match="OldCollector"):
        registry = Registry([str(tmp_path)])
    assert issubclass(registry.plugin_class("collectors", "door"), agentd.plugin.Collector)
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}, line 2: agentd.plugin.OldCollector is deprecated since agentd 0.5, and will go: use Collector"
    ]
    for name in [each for each in sys.modules if each.startswith("agentd_plugin_dirs.")]:
        del sys.modules[name]


def test_what_is_deprecated_is_no_longer_public():
    """A deprecated name is not listed any more, and what it names instead is, or it has a value of its own."""
    for name, found in NAMES.items():
        assert name not in agentd.plugin.__all__
        assert found.value is not None or found.instead in agentd.plugin.__all__

"""What lies between two configurations."""

from agentd.changes import Changes, compare
from agentd.config import Document, core, resolve
from agentd.options import Config


class Catalog:
    """Three plugins of each kind, one of which runs by default."""

    def names(self, kind):
        return ["one", "three", "two"]

    def defaults(self, kind):
        return {"one": "default"} if kind == "collectors" else {}

    def config_type(self, kind, plugin):
        return Options


class Options(Config):
    """Options."""

    size: int = 1
    """A size."""


def settings(**values):
    """Return what a configuration comes to."""
    document = Document(values)
    assert not core(document).problems
    return resolve(document, Catalog())


def between(old, new, same_code=lambda _: True):
    """Return what changes."""
    return compare(settings(**old), settings(**new), same_code)


def test_nothing():
    """The same, said in another way, changes nothing."""
    changes = between({}, {"collectors": {"one": {"size": 1}}})
    assert not changes
    assert not Changes()
    assert str(changes) == "nothing changed"


def test_instances_come_change_and_go():
    """An instance is known by its kind and name."""
    old = {"collectors": {"two": {"size": 2}, "x": {"plugin": "two"}}, "sinks": {"two": {}}}
    new = {"collectors": {"two": {"size": 3}}, "sinks": {"two": {}, "three": {}}}
    changes = between(old, new)
    assert changes.told() == {"added": ["sinks.three"], "changed": ["collectors.two"], "removed": ["collectors.x"]}
    assert changes.fresh == {"sinks.three", "collectors.two"}
    assert str(changes) == "added sinks.three; changed collectors.two; removed collectors.x"


def test_keys_of_the_core_count():
    """Another timeout is another instance."""
    assert between({}, {"collectors": {"one": {"timeout": "1s"}}}).changed == ["collectors.one"]


def test_another_plugin_of_the_same_name():
    """A section that means another plugin is another instance."""
    old, new = ({"sinks": {"x": {"plugin": plugin}}} for plugin in ("one", "two"))
    assert between(old, new).changed == ["sinks.x"]


def test_other_code():
    """A plugin whose code has changed is begun anew."""
    assert between({}, {}, lambda instance: instance.name != "one").changed == ["collectors.one"]


def test_what_concerns_all():
    """Other labels and other folders of the host concern every instance, another level of the log none."""
    assert between({}, {"agent": {"labels": {"a": "b"}}}).told() == {
        "changed": ["collectors.one"],
        "sections": ["agent"],
    }
    assert between({}, {"host": {"procfs": "/host/proc"}}).told() == {
        "changed": ["collectors.one"],
        "sections": ["host"],
    }
    assert between({}, {"agent": {"log_level": "debug"}}).told() == {"sections": ["agent"]}


def test_what_waits_for_the_next_start():
    """The journal is not exchanged while the agent runs."""
    assert between({}, {"journal": {"max_age": "1d"}}).told() == {"later": ["journal"]}

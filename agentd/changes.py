"""What a new configuration changes: the settings of now and those that would be, beside each other."""

from collections.abc import Callable, Sequence

import msgspec

from agentd.config import Instance, Settings


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Plugin instances by their keys (``collectors.cpu``), and the core's own sections by their names."""

    added: Sequence[str] = ()
    changed: Sequence[str] = ()
    """Those that are begun anew: with other options, or other code."""
    removed: Sequence[str] = ()
    sections: Sequence[str] = ()
    """Sections that change and take effect at once."""
    later: Sequence[str] = ()
    """Sections that are not what the agent runs with, and do not take effect before it is started again."""

    @property
    def fresh(self) -> frozenset[str]:
        """The instances that have to be started."""
        return frozenset((*self.added, *self.changed))

    def told(self) -> dict[str, Sequence[str]]:
        """Return what there is of it."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}

    def __str__(self) -> str:
        return "; ".join(f"{name} {' '.join(value)}" for name, value in self.told().items()) or "nothing changed"

    def __bool__(self) -> bool:
        return any((self.added, self.changed, self.removed, self.sections, self.later))


def compare(old: Settings, new: Settings, same_code: Callable[[Instance], bool]) -> Changes:
    """Return what is to be done to get from ``old`` to ``new``; ``same_code`` says whether a plugin's code is the same.

    Another ``[host]``, or other labels, concern every plugin.
    """
    everything = (old.host, old.agent.labels) != (new.host, new.agent.labels)
    before = {instance.key: instance for instance in old.instances}
    after = {instance.key: instance for instance in new.instances}
    return Changes(
        added=[key for key in after if key not in before],
        changed=[
            key
            for key, instance in after.items()
            if key in before and (everything or before[key] != instance or not same_code(instance))
        ],
        removed=[key for key in before if key not in after],
        sections=[name for name in ("agent", "web", "host") if getattr(old, name) != getattr(new, name)],
        later=["journal"] if old.journal != new.journal else [],
    )

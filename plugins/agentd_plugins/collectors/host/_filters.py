"""Filters on names of devices, mount points and the like: by an expression that excludes, or one that includes."""

import msgspec

from agentd.plugin import Config, Regex


class Filter:
    """Says which names are left out, and remembers what it said: the same few names are asked about at each scrape.

    Where there is an ``include`` it alone decides: a name that it does not match is ignored. Otherwise a name is
    ignored that ``exclude`` matches. An empty expression counts as none.
    """

    REMEMBERED = 4096
    """Verdicts kept at most: names that come and go (of containers, say) must not add up for ever."""

    def __init__(self, exclude: Regex | None, include: Regex | None = None) -> None:
        self._include = given(include)
        self._exclude = None if self._include else given(exclude)
        self._verdicts: dict[str, bool] = {}

    def ignores(self, name: str) -> bool:
        """Return whether the name is to be left out."""
        verdict = self._verdicts.get(name)
        if verdict is None:
            if len(self._verdicts) >= self.REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[name] = self._decide(name)
        return verdict

    def _decide(self, name: str) -> bool:
        if self._include:
            return not self._include.search(name)
        return bool(self._exclude and self._exclude.search(name))


def given(expression: Regex | None) -> Regex | None:
    """Return the expression, or None where it is empty: an empty one would match everything, and is as good as none."""
    return expression if expression and expression.pattern else None


def exclusive(config: Config, exclude: str, include: str) -> None:
    """Check, in ``__post_init__``, that not both of two fields are given. Raises ``ValueError``.

    An ``exclude`` that still has its default is not given.
    """
    default = next(field.default for field in msgspec.structs.fields(config) if field.name == exclude)
    excluding, including = getattr(config, exclude), getattr(config, include)
    if given(including) and given(excluding) and excluding != default:
        raise ValueError(f"{exclude} and {include} contradict each other: give only one of the two")

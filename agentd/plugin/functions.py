"""A plain function as a collector: what ``@collector`` makes of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, get_args, get_origin, overload

from agentd.errors import AnswerError
from agentd.metrics.family import Family, Histogram, Metric, Summary, keyed
from agentd.metrics.frame import Frame
from agentd.options import Config, Duration
from agentd.plugin.kinds import Collected, Collector

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_AS_IT_IS = (list, Frame)
_VALUES = (int, float, Histogram, Summary)


class Function(Generic[P, R]):
    """A decorated function: called as before, and beside it the class of the collector that it is."""

    def __init__(self, function: Callable[P, R], plugin: type[Collector[Any]]) -> None:
        self.function = function
        self.plugin = plugin
        """The collector's class, as good as one that was written out: ``door.plugin(config, context).collect()``."""
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **keywords: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **keywords)


@overload
def collector(  # type: ignore[overload-overlap]  # a metric can be called as well, and is meant to come first
    *metrics: Metric, name: str = "", interval: str | float | None = None, blocking: bool = True
) -> Callable[[Callable[P, R]], Function[P, R]]: ...
@overload
def collector(function: Callable[P, R], /) -> Function[P, R]: ...
def collector(*metrics: Any, name: str = "", interval: str | float | None = None, blocking: bool = True) -> Any:
    """Make a collector of the function below, which may be ``async``: no class, and no hook to write.

    ``metrics`` are those that it tells, as ``gauge`` and its like declare them. ``name`` is the collector's name, that
    of the function where it is left out; ``interval`` (``"5s"``) and ``blocking`` mean what they mean in a class.

    The function takes nothing, or its options (``config: DoorConfig``), or the plugin (``plugin:
    Collector[DoorConfig]``): the annotation of its first parameter says which. Further ones need defaults, and keep
    them. It returns one of these:

    - what the one declared metric is called with: a number, or a mapping from label values to numbers;
    - a mapping from names of metrics to such samples. None in it is a value that is not known. A name that was not
      declared is a counter where it ends in ``_total``, or else a gauge, and is helped by the function's docstring;
    - families, as ``collect`` of a class returns them.

    Raises ``TypeError`` or ``ValueError`` where it is used in another way.
    """
    if len(metrics) == 1 and inspect.isroutine(metrics[0]):
        return _decorated(metrics[0], (), name, interval, blocking=blocking)
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise TypeError(f"@collector takes declared metrics, such as gauge(…), found {metric!r}")
    return lambda function: _decorated(function, metrics, name, interval, blocking=blocking)


def functions_of(module: object) -> Iterator[type[Collector[Any]]]:
    """Yield the collectors that the decorated functions of a module are, in its order, but for imported ones."""
    name = getattr(module, "__name__", None)
    for value in list(vars(module).values()):
        if isinstance(value, Function) and value.plugin.__module__ == name:
            yield value.plugin


def _decorated(
    function: Callable[P, R], metrics: tuple[Metric, ...], name: str, interval: str | float | None, *, blocking: bool
) -> Function[P, R]:
    if not inspect.isroutine(function):
        raise TypeError(f"@collector is for functions, found {function!r}")
    called = getattr(function, "__name__", "")
    if not _NAME.fullmatch(name or called):
        raise ValueError(f"{name or called!r} is no name of a collector: letters, digits, _ and -")
    seconds = Duration.parse(interval) if isinstance(interval, str) else interval
    given, config_type = _parameter(function)
    families = _Families(called, metrics, inspect.getdoc(function) or "")
    attributes: dict[str, Any] = {
        "name": name or called,
        "config_type": config_type,
        "interval": seconds,
        "blocking": blocking,
        "metrics": metrics,
        "collect": _collect(cast("Callable[..., Any]", function), given, families),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
    }
    return Function(function, type(called, (Collector,), attributes))


def _parameter(function: Callable[..., Any]) -> tuple[str, type[Config]]:
    """Return what a function is given, nothing, the plugin or its options, and the class of these.

    Raises ``TypeError`` where the first parameter does not say which, even if it has a default: that would stand for
    ever, whatever the configuration says.
    """
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if not parameters:
        return "", Config
    first, *others = parameters
    if lacking := [each.name for each in others if each.default is each.empty]:
        raise TypeError(
            f"{function.__name__}() takes {first.name} and {' and '.join(lacking)}: a collector is given one argument"
        )
    annotation = first.annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))  # noqa: S307  # the module's own code
        except NameError as error:
            raise TypeError(f"{function.__name__}(): {annotation} is not known at run time: {error}") from None
    if first.kind is not first.KEYWORD_ONLY:
        if isinstance(annotation, type) and issubclass(annotation, Config):
            return "config", annotation
        if annotation is Collector:
            return "plugin", Config
        if get_origin(annotation) is Collector:
            (options,) = get_args(annotation)
            return "plugin", options if isinstance(options, type) and issubclass(options, Config) else Config
    raise TypeError(
        f"{function.__name__}({first.name}): nothing says what {first.name} is. The first parameter is "
        "`config: DoorConfig`, a class of Config whose fields are the options, or `plugin: Collector[DoorConfig]`"
    )


def _collect(function: Callable[..., Any], given: str, families: _Families) -> Callable[[Any], Any]:
    """Return the method ``collect`` of a function's class: one more call than a method that was written out."""
    if inspect.iscoroutinefunction(function):

        async def waiting(self: Collector[Any]) -> Collected:
            awaited = function() if not given else function(self if given == "plugin" else self.config)
            return cast("Collected", families(await awaited))

        return waiting
    if given == "plugin":
        return lambda self: families(function(self))
    if given == "config":
        return lambda self: families(function(self.config))
    return lambda self: families(function())


class _Families:
    """What a function returned -> families."""

    def __init__(self, function: str, metrics: tuple[Metric, ...], doc: str) -> None:
        self._function = function
        self._metrics = {metric.name: metric for metric in metrics}
        self._only = metrics[0] if len(metrics) == 1 else None
        self._help = " ".join(doc.partition("\n\n")[0].split()) or f"Told by the function {function}."

    def __call__(self, returned: Any) -> Any:
        kind = type(returned)
        if kind is float and self._only is not None:
            return [self._only(returned)]
        if kind in _AS_IT_IS:
            return returned
        if isinstance(returned, Family):
            return [returned]
        if isinstance(returned, _VALUES):
            return [self._the_one("a number")(returned)]
        if isinstance(returned, Mapping):
            if self._only is not None and self._only.labels:
                return [self._only(returned)]
            return self._named(returned)
        if isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
            if inspect.isawaitable(returned):
                return self._awaited(returned)
            raise AnswerError(f"{self._function}() returned {returned!r}: expected a number, a mapping, or families")
        return returned

    async def _awaited(self, returned: Awaitable[Any]) -> Any:
        return self(await returned)

    def _the_one(self, what: str) -> Metric:
        if self._only is None:
            raise AnswerError(
                f"{self._function}() returned {what}, and it is not declared of which metric: "
                '@collector(gauge("NAME", "What it means."))'
            )
        return self._only

    def _named(self, returned: Mapping[Any, Any]) -> list[Family]:
        families = []
        for name, samples in returned.items():
            if samples is None:
                continue
            metric = self._metrics.get(name)
            if metric is not None:
                families.append(metric(samples))
            elif isinstance(samples, _VALUES):
                kind = "counter" if str(name).endswith("_total") else "gauge"
                families.append(Family(name, kind, self._help, (), keyed(samples)))  # type: ignore[arg-type]  # either is a kind
            else:
                raise AnswerError(
                    f"{self._function}() returned {type(samples).__name__} for {name!r}, which is not declared: "
                    f'expected a number, or @collector(gauge("{name}", "What it means.", ("label",)))'
                )
        return families

"""What plugins of every kind have in common."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, ForwardRef, Generic, TypeVar, get_args, get_origin

from agentd import secrecy
from agentd.context import Clock, Context
from agentd.events.envelope import Event, Record
from agentd.host import Host
from agentd.memory import Pressure
from agentd.metrics.family import Family
from agentd.options import Config, Duration
from agentd.routes import Principal, Route

CANNOT_BE_TRIED = "cannot be tried: the plugin has no probe()"

C = TypeVar("C", bound=Config)
T = TypeVar("T")


class Plugin(Generic[C]):
    """What collectors and exporters have in common: a name, options, and a beginning and an end."""

    name: ClassVar[str]
    """The plugin's name: that of its file. An instance of it may have another."""
    config_type: ClassVar[type[Config]] = Config
    """The class of its options, taken from the brackets: ``class LoadAvg(Collector[Options])``."""
    extra: ClassVar[str] = ""
    """The extra of agentd's package that has the libraries which a bundled plugin needs; empty where it needs none."""
    exclusive: ClassVar[bool] = False
    """Whether two of the same section cannot run at once, because they have a port or a position in a stream, say. When
    its options change, a reload begins the new one beside the old and gives that up only when the new one runs; one
    that is exclusive is begun when the old one has ended. Sinks need not say so."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Config):
                    cls.config_type = argument
            if (why := _no_options(_in_brackets(base))) is not None:
                raise TypeError(f"class {cls.__name__}: {why}")
        interval: Any = cls.__dict__.get("interval")
        if isinstance(interval, str):  # as in the configuration
            cls.interval = float(Duration.parse(interval))  # type: ignore[attr-defined]  # of collectors and exporters

    def __init__(self, config: C | None = None, context: Context | None = None) -> None:
        self.config: C = config if config is not None else self.config_type()  # type: ignore[assignment]
        """Its options, checked."""
        self.context: Context = context or Context(name=getattr(type(self), "name", type(self).__name__))
        """What the agent gives it."""
        self.log: logging.Logger = logging.getLogger(f"agentd.{self.context.name}")
        """Its part of the agent's log."""

    @property
    def host(self) -> Host:
        """The machine's own files."""
        return self.context.host

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.context.clock

    async def start(self) -> None:
        """Open what the plugin needs; called once before its first use. Raising says that the plugin cannot run."""

    async def leave(self) -> None:
        """Say good-bye to whoever holds a connection. Called first when the agent stops: its web server cuts them."""

    async def stop(self) -> None:
        """Close what ``start`` opened. Called at the end even where ``start`` failed, and may be called twice."""

    def routes(self) -> Iterable[Route]:
        """Return the paths that this plugin answers on the agent's web server."""
        return ()

    async def probe(self) -> str:
        """Return in a line what answers where this plugin sends to or asks, or raise what is wrong there.

        ``agentd check --probe`` calls it of an instance of its own, which was not started and is stopped afterwards,
        while the agent may run with the same options: it changes nothing, and takes no name that the agent has.
        """
        return CANNOT_BE_TRIED

    def about(self) -> Iterable[Family]:
        """Return what the plugin tells about itself: counters of its own work, shown with the agent's own metrics."""
        return ()

    def shed(self, pressure: Pressure) -> None:
        """Give up what is asked for, because the agent uses more memory than it may.

        Called on the event loop, so it must be quick: again and again while that does not suffice, and with
        ``Pressure.NONE`` when all is well again.
        """

    def event(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> Event:
        """Return an event of this plugin's, of now."""
        now = self.clock.time()
        return Event(type=type, source=self.context.name, target=target, timestamp=now, payload=dict(payload or {}))

    def emit(self, type: str, payload: Mapping[str, Any] | None = None, *, target: str | None = None) -> None:
        """Say that something happened. Takes microseconds, from any thread, and never fails: what cannot be kept is
        counted as dropped.
        """
        try:
            event = self.event(type, payload, target=target)
        except Exception:  # noqa: BLE001  # no mapping: whoever takes events refuses it, and says so
            event = Event(type=type, source=self.context.name, target=target, payload=payload)  # type: ignore[arg-type]
        self.context.emit(event)

    async def commit(self, events: Iterable[Event] = (), state: Mapping[str, Any] | None = None) -> None:
        """Write events and state down in one transaction; return when both are on disk, or raise ``NotDurable``.

        ``state`` holds the keys that change, with values that are JSON; None removes one. ``self.state`` has them all.
        """
        await self.context.commit(list(events), state or {})

    def follow(
        self, types: Sequence[str] = ("*",), sources: Sequence[str] = ("*",), *, after: int | None = None
    ) -> AsyncIterator[tuple[int, list[Record]]]:
        """Follow the agent's journal: yield, again and again, the number up to which it was looked, and the events
        found up to there whose type and source fit one of the patterns, at most 1,000, in order; there may be none.

        Only what is written down is shown. Begins behind the number ``after``; without one, with what happens from now
        on, and at first yields the number for "now". Whoever commits the number together with what it made of the
        events takes account of each exactly once, whatever happens to the agent.
        """
        return self.context.follow(types, sources, after)

    @property
    def state(self) -> Mapping[str, Any]:
        """What this plugin has committed as its state, in this life of the agent and before."""
        return self.context.state

    def authenticate(self, token: str) -> Principal | None:
        """Return who has this token, which came in a message; None where nobody has, or it has expired. One in the
        header has been judged before a handler is called.
        """
        return self.context.authenticate(token)

    def harmless(self, text: object) -> str:
        """Return what somebody else says, an error of a server or a library say, without the secrets of the options:
        some servers repeat in their errors what they were told.
        """
        return secrecy.hiding(secret for _, secret in secrecy.secrets(self.config))(str(text))

    async def in_worker(self, function: Callable[..., T], *args: object) -> T:
        """Run a function that may block in one of the agent's worker threads, and return what it returned.

        The thread goes on if the caller stops waiting: a plugin sees to it that a call that hangs is not made again.
        """
        result: T = await self.context.in_worker(function, *args)
        return result


def _in_brackets(base: object) -> object:
    """Return what a base of a class has in the place of ``C``; a type variable where that is left open, and where the
    base is no plugin.
    """
    origin = get_origin(base)
    if origin is Plugin:
        return get_args(base)[0]
    if isinstance(origin, type) and issubclass(origin, Plugin):
        given = dict(zip(origin.__parameters__, get_args(base), strict=False))  # type: ignore[attr-defined]  # of Generic
        for each in vars(origin).get("__orig_bases__", ()):
            if not isinstance(found := _in_brackets(each), TypeVar):
                return found
            if found in given:
                return given[found]
    return C


def _no_options(given: object) -> str | None:
    """Return why something is no class of options, and what to do; None where it is one, or stands for one."""
    if given is Any or isinstance(given, TypeVar) or (isinstance(given, type) and issubclass(given, Config)):
        return None
    if isinstance(given, ForwardRef):
        return (
            f"{given.__forward_arg__!r} in the brackets is not looked up: define it above, and write it without quotes"
        )
    name = given.__name__ if isinstance(given, type) else repr(given)
    return f"{name} in the brackets is no class of options: let it extend Config of agentd.plugin, and be no dataclass"

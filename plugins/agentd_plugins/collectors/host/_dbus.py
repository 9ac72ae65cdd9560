"""Questions to a service on D-Bus's system bus, many at once, through the library dbus-fast."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from agentd.plugin import NoData

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

PENDING = 64
"""Questions that wait for an answer at one time: the bus allows each connection 128 (dbus-daemon(1),
``max_replies_per_connection``)."""

ABSENT = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
"""What the bus answers in the place of a service that does not run."""

Property = tuple[str, str, str]
"""Where a property is found: the path of its object, its interface and its name."""


class Refused(Exception):
    """A service answered with an error; the text has its name and what the service said."""


def need() -> None:
    """Check that dbus-fast is installed. Raises ``RuntimeError`` that says how to install it."""
    try:
        import dbus_fast.aio  # noqa: F401
    except ImportError:
        raise RuntimeError("the library dbus-fast is missing: pip install 'agentd[systemd]'") from None


class Service:
    """One service on the bus."""

    def __init__(self, bus: "MessageBus", name: str) -> None:
        self._bus = bus
        self._name = name

    async def call(self, path: str, interface: str, member: str, signature: str = "", *arguments: Any) -> Any:
        """Call a method, and return the first value of its answer.

        Raises ``Refused``, and ``NoData`` where the service does not run: it is not started for being asked.
        """
        from dbus_fast import Message, MessageFlag, MessageType

        reply = await self._bus.call(
            Message(
                destination=self._name,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=list(arguments),
                flags=MessageFlag.NO_AUTOSTART,
            )
        )
        if reply.message_type is MessageType.ERROR:
            if reply.error_name in ABSENT:
                raise NoData(f"{self._name} is not on the system bus")
            said = next(iter(reply.body), "")
            raise Refused(f"{self._name}: {reply.error_name}: {said}")
        return next(iter(reply.body), None)

    async def property(self, path: str, interface: str, name: str) -> Any:
        """Return a property, None where there is none: an older version, or an object that has gone meanwhile."""
        try:
            answer = await self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name)
        except Refused:
            return None
        return getattr(answer, "value", None)

    async def properties(self, wanted: Sequence[Property]) -> list[Any]:
        """Return many properties in the order in which they are asked for, None for each that is not there."""
        found: list[Any] = []
        for begin in range(0, len(wanted), PENDING):
            found += await asyncio.gather(*(self.property(*one) for one in wanted[begin : begin + PENDING]))
        return found


@asynccontextmanager
async def service(name: str) -> AsyncIterator[Service]:
    """Connect to the system bus for the time of one collection, and give the service of this name.

    The bus is that of ``DBUS_SYSTEM_BUS_ADDRESS``, or the one of the machine. Raises ``NoData`` where there is none.
    """
    from dbus_fast import BusType
    from dbus_fast.aio import MessageBus

    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
    except (FileNotFoundError, ConnectionRefusedError):  # a socket that nobody listens to is one that was left behind
        raise NoData("no system bus of D-Bus runs here") from None
    try:
        yield Service(bus, name)
    finally:
        bus.disconnect()
        with suppress(Exception):  # how a connection ends that is given up makes no difference
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

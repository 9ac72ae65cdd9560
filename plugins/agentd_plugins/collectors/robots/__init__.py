"""Robots: what they push over WebSocket or HTTP, as metrics and events."""

from collections.abc import Iterable
from importlib.metadata import version

from agentd.plugin import Collector, Family, Frame, Pressure, Route, counter, gauge, hookimpl
from agentd_plugins.collectors.robots import schemas
from agentd_plugins.collectors.robots.api import ROOT, Api
from agentd_plugins.collectors.robots.fleet import RTT, SHOWN, STATE, Fleet
from agentd_plugins.collectors.robots.intake import Intake
from agentd_plugins.collectors.robots.service import EPOCH, Service
from agentd_plugins.collectors.robots.settings import RobotsConfig


class Robots(Collector[RobotsConfig]):
    """Robots that stream telemetry: their metrics by one vocabulary, their events, and whether they are there."""

    name = "robots"
    exclusive = True  # it knows up to where each robot has been heard
    max_series = 10_000_000  # the budget is per robot: max_robots times max_robot_series
    metrics = (*(signal.metric for signal in SHOWN), STATE, RTT)
    refused = counter("agentd_robots_connections_refused_total", "Connections that were refused.", ("reason",))
    open = gauge("agentd_robots_connections", "Connections of robots that are open.")

    async def start(self) -> None:
        """Take up what is known of robots, and begin to answer; a second time, anew."""
        await self.stop()
        self._fleet = Fleet(self.config, self.state, self.log.warning)
        self._intake = Intake(self.config, self.clock, self.context.emit)
        self._service = Service(
            self._fleet, self._intake, self.config, commit=self.context.commit, authenticate=self.authenticate
        )
        self._api = Api(
            self._fleet,
            self._intake,
            self.config,
            commit=self.commit,
            gather=self.context.gather,
            version=version("agentd"),
        )
        await self._service.start(self.state.get(EPOCH))

    async def leave(self) -> None:
        """Send all robots away, to come again."""
        if hasattr(self, "_service"):
            await self._service.leave()

    async def stop(self) -> None:
        """End what runs."""
        if hasattr(self, "_service"):
            await self._service.stop()

    def shed(self, pressure: Pressure) -> None:
        """Let nobody in who is new while memory is short, and drop what robots told that are not connected."""
        if pressure in (Pressure.INTAKE, Pressure.NONE):
            self._service.shed(short=bool(pressure))

    def routes(self) -> list[Route]:
        """Return the paths under ``/api/telemetry``."""
        websocket = Route(
            *("GET", f"{ROOT}/ws/{{robot_id}}", self._service.connect, None, "a robot's WebSocket"),
            description=schemas.WEBSOCKET,
            tags=("robots",),
            parameters=(schemas.ROBOT_ID,),
            answers=schemas.SOCKET,
        )
        return [websocket, *self._api.routes()]

    def collect(self) -> Iterable[Family]:
        """Return what robots have told lately."""
        now = self.clock.monotonic()
        frame = self._fleet.frame(now)
        others = self._fleet.others(now)
        return Frame.of([*frame, *others]) if others else frame

    def about(self) -> Iterable[Family]:
        """Return how many connections there are, and were refused."""
        yield self.open(float(self._service.connections()))
        yield self.refused({(reason,): float(number) for reason, number in self._service.refused.items()})


@hookimpl
def agentd_collectors() -> list[type[Robots]]:
    """Register the collector."""
    return [Robots]

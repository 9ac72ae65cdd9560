"""An agent, everything that is done to it at once, and what it needs meanwhile.

It goes on in rounds. In each, metrics are read, events are posted and emitted, robots come and go, streams are opened
and dropped, sinks fail and recover, the configuration is reloaded, the clock is stepped, and plugins fail. Then all of
that stops, the sinks get what has waited, and what the agent needs is measured: at rest, so that what was under way is
no noise.
"""

import asyncio
import gzip
import json
import os
import random
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from agentd.testing.accounting import TYPE, account, numbers

from . import plugins
from .loads import COMMITTED, EMITTED, FORMATS, PATIENCE, Hook, Ledger, Loads
from .slope import theil_sen

ROUND = 5.0
"""Seconds of a round, without the rest behind it."""

WARM = 1 / 3
"""Part of the rounds that does not count: caches fill, threads are begun, and memory gets its holes."""

CLOCKS = ("+1h", "-1h", "-1d", "+1d", "-10s", "+0")

IDLE = "/metrics?collect[]=robots"
"""What the agent is asked while it is at rest: the plugin ``inside`` has no part in it, and emits nothing."""


class Soak:
    """One run."""

    def __init__(self, start_agent, folder, port, *, seed, tidy):
        """``tidy``: the agent looks for garbage behind each round. By itself it does so a minute after a reload, so
        that what it needs goes up and down; half an hour shows whether it does, two minutes do not.
        """
        self.folder = folder
        self.ledger = Ledger()
        self.hook = Hook()
        self.samples = []
        self.loads = None
        self._start_agent = start_agent
        self._port = port
        self._random = random.Random(seed)
        self._inside = "/inside?tidy=1" if tidy else "/inside"
        self._chosen = {name: values[0] for name, values in plugins.SECTIONS.items()}
        self._reloads = 0

    async def run(self, minutes):
        """Do it all for so long; then have the agent settle, ask it how it is, and end it."""
        environment = self._clock()
        (self.folder / "folder").mkdir()
        (self.folder / "nothing").touch()
        self._point("folder")
        await self.hook.open(self._port)
        self.agent = await asyncio.to_thread(
            lambda: self._start_agent(self._config(), plugins=plugins.SOURCES, environment=environment)
        )
        try:
            async with Loads(self.agent.url, self.ledger, self._random.random()) as self.loads:
                end = time.monotonic() + 60 * minutes
                while time.monotonic() < end:
                    await self.round()
                await self._finish()
        finally:
            await self.hook.close()

    async def round(self):
        """Have everything happen, and then nothing; measure."""
        until = time.monotonic() + ROUND
        async with asyncio.TaskGroup() as group:
            group.create_task(self.loads.everything(until))
            group.create_task(self._fail_sinks(until))
            group.create_task(self._reload(until))
            group.create_task(self._step_clock(until))
        for headers in FORMATS:  # a reload may have dropped what the next scrape keeps for the one behind it
            await asyncio.to_thread(self.agent.get, "/metrics", headers)
        await self._rest()
        # Streams whose readers have gone end with the next event, and sinks keep the last batch until another comes.
        body = json.dumps({"type": "soak.rest"}).encode()
        assert (await asyncio.to_thread(self.agent.get, "/api/v1/events", method="POST", body=body)).status == 201
        await self._rest()
        self.samples.append(await self._measured())
        print(f"{len(self.samples)}:", *(f"{name} {value:.0f}" for name, value in self.samples[-1].items()), flush=True)

    async def _get(self, path):
        return await asyncio.to_thread(self.agent.get, path)

    async def _rest(self):
        """Wait until all robots are gone, and all sinks have got everything."""
        due = time.monotonic() + PATIENCE
        while True:
            behind = {sink["sink"]: sink["lag_events"] for sink in json.loads((await self._get("/api/v1/sinks")).body)}
            robots = (await self._get(IDLE)).value("agentd_robots_connections")
            if robots == 0 and not any(behind.values()):
                return
            assert time.monotonic() < due, f"{behind}, {robots} robots\n{self.agent.log()[-5000:]}"
            await asyncio.sleep(0.1)

    async def _measured(self):
        answer = await self._get(IDLE)
        inside = json.loads((await self._get(self._inside)).body)
        return {
            "descriptors": self.agent.descriptors(),
            "threads": len(os.listdir(f"/proc/{self.agent.pid}/task")),
            "tasks": answer.value("agentd_tasks"),
            "blocks": inside["blocks"],
            "resident": self.agent.resident(),
        }

    async def _fail_sinks(self, until):
        """Have the webhook's receiver fail in some way, and a file's folder be none, for a second or so."""
        await self.loads.pause(until, 1.0)
        self.hook.become(self._random.choice(Hook.MODES))
        self._point("nothing")
        await self.loads.pause(until, 2.0)
        self._point("folder")
        self.hook.become("take")

    def _point(self, target):
        """Have the folder of the sink ``spare`` be a link to this."""
        (self.folder / "link").symlink_to(target)
        (self.folder / "link").replace(self.folder / "spare")

    async def _reload(self, until):
        """Reload about each second: with something changed, with what is refused, and by the signal."""
        ways = [*plugins.SECTIONS, "code", "signal", "refused"]
        while time.monotonic() < until:
            await self.loads.pause(until, 2.0)
            way = ways[self._reloads % len(ways)]
            self._reloads += 1
            if way == "signal":
                self.agent.send(signal.SIGHUP)
                continue
            if way == "refused":
                self._write(self._config() + plugins.REFUSED[self._reloads // len(ways) % len(plugins.REFUSED)])
                assert await self._reloaded() == 409
            elif way == "code":
                changed = plugins.CHANGING.replace("VERSION = 0", f"VERSION = {self._reloads // len(ways) % 2}")
                (self.agent.folder / "plugins" / "changing.py").write_text(changed)
            else:
                values = plugins.SECTIONS[way]
                self._chosen[way] = values[(values.index(self._chosen[way]) + 1) % len(values)]
            self._write(self._config())
            assert await self._reloaded() == 200, self.agent.log()[-5000:]

    async def _reloaded(self):
        async with aiohttp.ClientSession() as session, session.post(f"{self.agent.url}/api/v1/reload") as response:
            await response.read()
        self.loads.done["reloads" if response.status == 200 else "reloads refused"] += 1
        return response.status

    async def _step_clock(self, until):
        while time.monotonic() < until:
            await self.loads.pause(until, 2.0)
            self._set_clock(self._random.choice(CLOCKS))
            self.loads.done["clock stepped"] += 1

    async def _finish(self):
        self._set_clock("+0")
        await self.loads.settle()
        await self._rest()
        self.metrics = await self._get("/metrics")
        self.ready = await self._get("/readyz")
        self.inside = json.loads((await self._get("/inside")).body)
        await self._rest()
        self.status = await asyncio.to_thread(self.agent.stop)

    def slopes(self):
        """Return by how much each thing grows from one round to the next."""
        kept = self.samples[int(len(self.samples) * WARM) :]
        return {name: theil_sen([sample[name] for sample in kept]) for name in kept[0]}

    def accounts(self):
        """Return what became of the events at each sink. All that the plugin has emitted has to be there, too."""
        inside = ((EMITTED, self.inside["emitted"]), (COMMITTED, self.inside["committed"]))
        unsure = {(COMMITTED, number) for number in self.inside["unsure"]}
        told = {(writer, number) for writer, count in inside for number in range(count)} - unsure
        # It goes on emitting until the agent has stopped: the exporter textfile asks it, too.
        written = self.ledger.written + [(writer, number) for writer, count in inside for number in range(count + 1000)]
        places = {"archive": self._arrived("archive"), "spare": self._arrived("spare"), "hook": self.hook.arrived}
        return {
            name: account(written, told.union(self.ledger.acknowledged), arrived) for name, arrived in places.items()
        }

    def _arrived(self, name):
        found = []
        folder = self.folder / name
        for file in [*sorted(folder.glob("events.jsonl.0*")), folder / "events.jsonl"]:
            data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            found += numbers(line for line in data.splitlines() if TYPE.encode() in line)
        return found

    def lag(self):
        """Return how late the event loop was: how many measurements were within how many seconds."""
        found = {dict(labels).get("le"): value for (name, labels), value in self.metrics.samples.items()
                 if name == "agentd_loop_lag_seconds_bucket"}  # fmt: skip
        return ", ".join(f"{value:.0f} within {bound} s" for bound, value in found.items())

    def _config(self):
        return plugins.CONFIG.format(folder=self.folder, port=self._port, **self._chosen)

    def _write(self, config):
        file = self.agent.folder / "agentd.toml"
        file.write_text(f"[agent]\nplugin_dirs = ['{self.agent.folder}/plugins']\n{config}")

    def _clock(self):
        """Return the environment in which the clock is what the file says."""
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed (a Debian package has it)")
        self._set_clock("+0")
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # or threads that wait for the interpreter's lock spin
            "PYTHONWARNINGS": "default::ResourceWarning",
        }

    def _set_clock(self, setting):
        (self.folder / "next").write_text(setting)
        (self.folder / "next").replace(self.folder / "clock")

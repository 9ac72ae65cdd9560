"""Robots: telemetry beside a bare aiohttp WebSocket receive loop."""

import contextlib
import gzip
import http.client
import json
import re
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.figures import row, spread, title
from benchmarks.fleet import connect, framed, numbered, say_hello, send
from benchmarks.processes import Server, agentd, free_port

ROBOTS = 1000
FLEET = 10_000
FRAMES = 100
"""Frames that each robot sends in a round."""

RATE = 40_000.0
"""Frames a second, of all robots: so few that each wakes its server up on its own."""

ROUNDS = 5
PROTOCOL = "agentd.telemetry.v1"

CONFIGURATION = """
[collectors.robots]
rate_limit = 1000
connects_per_second = 10000
data_received_every = "0s"
ping_every = "1h"  # these robots do not answer
"""

PAUSES = '''
import gc, time
from agentd.plugin import Collector, Config, Family, hookimpl

class Pauses(Collector[Config]):
    """Tells how long the longest collection of garbage took since it was asked last."""

    name = "pauses"
    blocking = False

    async def start(self):
        self.longest = self.begun = 0.0
        gc.callbacks.append(self.watch)

    async def stop(self):
        gc.callbacks.remove(self.watch)

    def watch(self, phase, _info):
        now = time.perf_counter()
        if phase == "start":
            self.begun = now
        else:
            self.longest = max(self.longest, now - self.begun)

    def collect(self):
        longest, self.longest = self.longest, 0.0
        yield Family.gauge("longest_pause_seconds", "The longest pause.", longest)

@hookimpl
def agentd_collectors():
    return [Pauses]
'''

BARE = """
import sys
from aiohttp import web
async def receive(request):
    socket = web.WebSocketResponse(compress=False, decode_text=False)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket
async def answer(request):
    return web.Response(text="here")
async def serve():
    server = web.Server(lambda r: receive(r) if "Upgrade" in r.headers else answer(r), access_log=None)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()
import asyncio
asyncio.run(serve())
"""


def run() -> None:
    """Compare all of it."""
    frames()
    title(f"{FLEET} robots with 20 series each")
    fleet()
    title(f"{ROBOTS} robots with 20 series each, under TLS")
    under_tls()


def frames() -> None:
    """Compare what a frame costs."""
    title(f"{ROBOTS} robots that send frames of ten metrics, {RATE:.0f} a second in all")
    ours, bare = [], []
    with agentd(CONFIGURATION) as server:
        robots = [connect(server.port, f"/api/telemetry/ws/r{n}", PROTOCOL) for n in range(ROBOTS)]
        for number, robot in enumerate(robots):
            say_hello(robot, f"s{number}")
        for turn in range(ROUNDS + 1):
            sent = (numbered(turn * FRAMES + seq) for seq in range(1, FRAMES + 1))
            ours.append(cost(server, robots, sent))
    port = free_port()
    other = Server([sys.executable, "-c", BARE, str(port)], port, "/", {})
    try:
        robots = [connect(port, "/") for _ in range(ROBOTS)]
        for turn in range(ROUNDS + 1):
            sent = (numbered(turn * FRAMES + seq) for seq in range(1, FRAMES + 1))
            bare.append(cost(other, robots, sent))
    finally:
        other.stop()
    row("CPU per frame, agentd", spread(ours[1:], " µs"))
    row("CPU per frame, a bare receive loop", spread(bare[1:], " µs"))
    row(
        "frames a second of a core, against the bare loop",
        spread([b / o for o, b in zip(ours, bare, strict=True)][1:], " ×"),
        "reach 0.5 ×",
    )


def cost(server: Server, robots: Sequence[socket.socket], frames: Iterator[bytes]) -> float:
    """Return the CPU time of a frame in µs, when all robots send them."""
    before = server.cpu()
    send(robots, frames, RATE)
    time.sleep(0.3)
    return (server.cpu() - before) / (len(robots) * FRAMES) * 1e6


def fleet() -> None:
    """Measure what many robots cost: memory, scrapes, and how long others wait."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with (
        tempfile.TemporaryDirectory() as plugins,
        agentd(
            f"agent.plugin_dirs = ['{plugins}']{CONFIGURATION}",
            prepare=lambda _: Path(plugins, "pauses.py").write_text(PAUSES),
        ) as server,
    ):
        time.sleep(1)  # until it has begun, and set aside what it began with
        server.scrape()
        before = server.resident()
        robots = [connect(server.port, f"/api/telemetry/ws/robot-{n:05}") for n in range(FLEET)]
        told(server, robots, 0)
        memory = (server.resident() - before) * 1024 / FLEET
        pauses = [longest_pause(server)]
        ours, waits = [], []
        for turn in range(1, ROUNDS + 2):
            told(server, robots, turn)
            cpu = server.cpu()
            with waiting(server.port) as longest:
                body = server.scrape()
            ours.append(server.cpu() - cpu)
            waits.append(longest())
        series = gzip.decompress(body).count(b'robot="')
        with waiting(server.port) as longest:
            for turn in range(ROUNDS):
                told(server, robots, turn)
        wait = longest()
        pauses.append(longest_pause(server))
        for robot in robots:
            robot.close()
    theirs = [generated(turn) for turn in range(ROUNDS)]
    row(f"{series} series of {FLEET} robots: CPU of a scrape", spread(ours[1:], " s"))
    row("the same by prometheus_client.generate_latest", spread(theirs, " s"))
    row("ratio", spread([t / o for o, t in zip(ours[1:], theirs, strict=True)], " ×"), "reach 8 ×")
    row("longest wait of another request meanwhile", spread([wait * 1000 for wait in waits[1:]], " ms"), "reach 50 ms")
    row("longest wait while all robots send", f"{wait * 1000:.1f} ms")
    told_pauses = f"{pauses[0] * 1000:.1f} ms, {pauses[1] * 1000:.1f} ms"
    row("longest pause by garbage collection: connecting, after", told_pauses, "reach 20 ms")
    row("memory of a connected robot with 20 series", f"{memory:.1f} KiB", "reach 30 KB")


def longest_pause(server: Server) -> float:
    """Return how many seconds the longest collection of garbage took since this was asked last."""
    [found] = re.findall(rb"^longest_pause_seconds (\S+)$", gzip.decompress(server.scrape()), re.MULTILINE)
    return float(found)


def under_tls() -> None:
    """Measure what a connected robot takes in memory under TLS."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run(
            [*make, "-keyout", key, "-out", certificate, "-days", "2", *subject], check=True, stderr=subprocess.DEVNULL
        )
        port, plain = free_port(), free_port()
        file = Path(folder, "agentd.toml")
        file.write_text(f"""{CONFIGURATION}
[web]
listen = [{{ address = "127.0.0.1:{port}", tls = true }}, {{ address = "127.0.0.1:{plain}", tls = false }}]
[web.tls]
cert_file = "{certificate}"
key_file = "{key}"
""")
        command = [sys.executable, "-m", "agentd", "run", "--config", str(file)]
        server = Server(command, plain, "/metrics", {"STATE_DIRECTORY": folder, "RUNTIME_DIRECTORY": folder})
        try:
            context = ssl.create_default_context(cafile=certificate)
            before = server.resident()
            robots = [connect(port, f"/api/telemetry/ws/robot-{n:05}", tls=context) for n in range(ROBOTS)]
            told(server, robots, 0)
            memory = (server.resident() - before) * 1024 / ROBOTS
            for robot in robots:
                robot.close()
        finally:
            server.stop()
    row("memory of a connected robot with 20 series", f"{memory:.1f} KiB", "reach 70 KB")


def told(server: Server, robots: Sequence[socket.socket], turn: int) -> None:
    """Have all robots tell twenty values that they did not tell before; return when the agent has taken them."""
    for number, robot in enumerate(robots):
        metrics = {f"value_{nth}": turn + number + nth / 20 for nth in range(20)}
        robot.sendall(framed(json.dumps(metrics).encode()))
        if number % 100 == 0:
            time.sleep(0.005)
    time.sleep(0.5)


@contextlib.contextmanager
def waiting(port: int) -> Iterator[Callable[[], float]]:
    """Ask for something small again and again, and tell how long the longest answer took."""
    longest = [0.0]
    ends = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while not ends.is_set():
            begun = time.monotonic()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            longest[0] = max(longest[0], time.monotonic() - begun)
            time.sleep(0.002)

    thread = threading.Thread(target=ask)
    thread.start()
    yield lambda: longest[0]
    ends.set()
    thread.join()


def generated(turn: int) -> float:
    """Return the CPU time that prometheus_client takes for as many series, all of them changed."""
    registry = CollectorRegistry()
    gauges = [Gauge(f"robot_value_{nth}", "A value.", ["robot"], registry=registry) for nth in range(20)]
    for nth, gauge in enumerate(gauges):
        for number in range(FLEET):
            gauge.labels(f"robot-{number:05}").set(turn + number + nth / 20)
    begun = time.process_time()
    generate_latest(registry)
    return time.process_time() - begun

"""CPU of a scrape over TLS with a password beside that of a plain one, of the same agent, over kept connections."""

import base64
import http.client
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import bcrypt

from benchmarks.figures import row, spread, title
from benchmarks.processes import PROMETHEUS_HEADERS, Server, free_port

ROUNDS = 15
SCRAPES = 150
COST = 10
"""The cost of the password's hash, which bcrypt itself proposes to Prometheus's users."""


def configure(folder: Path, plain: int, secure: int) -> None:
    """Write a certificate, and a configuration with two listeners."""
    made = ("req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-newkey", "ec")
    named = ("-pkeyopt", "ec_paramgen_curve:prime256v1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    subprocess.run(["openssl", *made, *named, *files], check=True, capture_output=True)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(COST)).decode()
    (folder / "agentd.toml").write_text(
        f"""
        [web]
        listen = [{{ address = "127.0.0.1:{plain}", tls = false }}, "127.0.0.1:{secure}"]
        tls = {{ cert_file = "{folder}/cert.pem", key_file = "{folder}/key.pem" }}
        basic_auth.users.prometheus = "{hashed}"
        """
    )


def measure(server: Server, connection: http.client.HTTPConnection, headers: dict[str, str]) -> float:
    """Return the CPU seconds of a scrape."""
    before = server.cpu()
    for _ in range(SCRAPES):
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            raise RuntimeError(f"a scrape was answered {answer.status}")
    return (server.cpu() - before) / SCRAPES


def run() -> None:
    """Measure in turn, so that what else the machine does meets both."""
    title(f"One scrape with gzip over a kept connection, default collectors, {ROUNDS} rounds of {SCRAPES} in turn")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder, plain_port, secure_port = Path(name), free_port(), free_port()
        configure(folder, plain_port, secure_port)
        command = [sys.executable, "-m", "agentd", "run", "--config", str(folder / "agentd.toml")]
        server = Server(command, plain_port, "/metrics", {"STATE_DIRECTORY": name, "RUNTIME_DIRECTORY": name})
        try:
            context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            shown = "Basic " + base64.b64encode(b"prometheus:secret").decode()
            ways = [
                (http.client.HTTPConnection("127.0.0.1", plain_port), PROMETHEUS_HEADERS),
                (
                    http.client.HTTPSConnection("127.0.0.1", secure_port, context=context),
                    {**PROMETHEUS_HEADERS, "Authorization": shown},
                ),
            ]
            for way in ways:
                measure(server, *way)
            rounds = [[measure(server, *way) * 1e3 for way in ways] for _ in range(ROUNDS)]
        finally:
            server.stop()
    plain, secure = zip(*rounds, strict=True)
    row("CPU a scrape, plain", spread(plain, " ms"))
    row("CPU a scrape, TLS and a password", spread(secure, " ms"))
    row("CPU a scrape, ratio of the medians", f"{median(secure) / median(plain):.2f}")
    row("CPU a scrape, ratio", spread([two / one for one, two in rounds]), "reach 1.30")

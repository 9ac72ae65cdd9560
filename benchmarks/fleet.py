"""Robots' side of a benchmark: many WebSockets from one thread, which costs as little as it can."""

import base64
import json
import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence

METRICS = {
    "battery_level": 80.5,
    "battery_voltage": 24.1,
    "battery_current": -3.2,
    "cpu_usage": 45.2,
    "memory_usage": 62.8,
    "temperature": 41.5,
    "speed": 0.8,
    "heading": 1.57,
    "network_latency_ms": 12.5,
    "odometer": 12345.6,
}
"""Ten metrics, as a robot would tell them."""


def connect(port: int, path: str, protocol: str = "", tls: ssl.SSLContext | None = None) -> socket.socket:
    """Return a socket after the upgrade (RFC 6455, section 4.1)."""
    robot = socket.create_connection(("127.0.0.1", port), timeout=30)
    if tls is not None:
        robot = tls.wrap_socket(robot, server_hostname="127.0.0.1")
    robot.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
    robot.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = robot.recv(4096)
        if not part:
            raise ConnectionError(f"the server closed the connection: {head!r}")
        head += part
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise ConnectionError(f"the server refused: {head[:200]!r}")
    return robot


def framed(text: bytes) -> bytes:
    """Return a text frame as a client sends it; masked with zeros, it can be written as it is (section 5.3)."""
    length = len(text)
    head = struct.pack("!BB", 0x81, 0x80 | length) if length < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, length)
    return head + bytes(4) + text


def say_hello(robot: socket.socket, stream: str) -> None:
    """Say hello, and wait for the welcome."""
    robot.sendall(framed(json.dumps({"type": "hello", "stream_id": stream}).encode()))
    robot.recv(4096)


def numbered(seq: int, metrics: dict[str, float] = METRICS) -> bytes:
    """Return a numbered frame of metrics."""
    return framed(json.dumps({"type": "data", "seq": seq, "metrics": metrics}).encode())


def send(robots: Sequence[socket.socket], frames: Iterator[bytes], rate: float) -> float:
    """Send each frame on all sockets, so many a second in all; read away what comes. Return the seconds it took."""
    poll = select.epoll()
    for robot in robots:
        robot.settimeout(0)
        poll.register(robot.fileno(), select.EPOLLIN)
    by_number = {robot.fileno(): robot for robot in robots}
    begun, sent = time.monotonic(), 0
    for frame in frames:
        for robot in robots:
            robot.send(frame)
            sent += 1
            if sent % 50 == 0:
                ahead = begun + sent / rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
        for number, _ in poll.poll(0, len(robots)):
            by_number[number].recv(65536)
    poll.close()
    return time.monotonic() - begun

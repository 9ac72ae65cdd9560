"""Servers that refuse whoever comes, and repeat in their answer whatever they were told: passwords included."""

import json
import socketserver
import threading


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(5)
        try:
            self.greet()
            while data := self.request.recv(65536):
                self.request.sendall(self.answer(data))
        except OSError:  # whoever was refused has gone
            pass

    def greet(self):
        """Say something first, where that is the custom."""

    def answer(self, data):
        """Return what to answer."""
        return data


def _printable(data):
    return "".join(chr(byte) if 32 < byte < 127 and byte != 39 else " " for byte in data)


class Redis(_Handler):
    """As a Redis without AUTH: its error repeats the arguments of the command that it does not know."""

    def answer(self, data):
        return b"-ERR unknown command, with args beginning with: %s\r\n" % _printable(data).encode()


class Nats(_Handler):
    """Wants a log-in, and likes none."""

    def greet(self):
        info = {"server_id": "x", "version": "2.10.0", "max_payload": 1 << 20, "auth_required": True, "headers": True}
        self.request.sendall(b"INFO %s\r\n" % json.dumps(info).encode())

    def answer(self, data):
        return b"-ERR 'Nothing for %s'\r\n" % _printable(data).encode()


class Mqtt(_Handler):
    """Answers CONNECT with "not authorized" and a reason (MQTT 5, section 3.2)."""

    def answer(self, data):
        reason = _printable(data).encode()[:110]
        properties = b"\x1f" + len(reason).to_bytes(2, "big") + reason
        rest = b"\x00\x87" + bytes([len(properties)]) + properties
        return b"\x20" + bytes([len(rest)]) + rest


class Http(_Handler):
    """Answers 401, and its page is the request."""

    def answer(self, data):
        if b"\r\n\r\n" not in data:  # the rest of a body
            return b""
        head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(data)
        return head + data


HANDLERS = {"redis": Redis, "nats": Nats, "mqtt": Mqtt, "http": Http}
"""By the schemes of URLs."""


class Refusing:
    """All of them, each on a port of its own."""

    def __init__(self):
        self._servers = []
        self.ports = {}
        for scheme, handler in HANDLERS.items():
            server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self._servers.append(server)
            self.ports[scheme] = server.server_address[1]

    def close(self):
        """End them."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

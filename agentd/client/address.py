"""Where an agent takes telemetry."""

from urllib.parse import urlsplit, urlunsplit

PATH = "/api/telemetry/ws"

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def telemetry_url(url: str, robot_id: str) -> str:
    """Return the address of a robot's WebSocket at an agent, of which the host and port are enough.

    A path in ``url`` is where a proxy has the agent. Raises ``ValueError`` where there is no such address.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"expected the agent's address, such as http://127.0.0.1:9797; found {url!r}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the agent's address has no user, query or fragment: a token is given as `token`")
    path = parts.path.rstrip("/").removesuffix(f"/{robot_id}").removesuffix(PATH)
    return urlunsplit((SCHEMES[parts.scheme], parts.netloc, f"{path}{PATH}/{robot_id}", "", ""))

"""What plugins that talk to Redis have in common: the server's address, its check, and what the library is told."""

import importlib
import ssl
from types import ModuleType
from typing import Annotated, Any

from msgspec import Meta

from agentd.plugin import Url
from agentd_plugins.sinks._server import ServerConfig, check_server, in_words, tls

PATIENCE = 10.0
"""Seconds that connecting may take, the log-in included."""

_ADVICE = {
    "AuthenticationError": "check user and password",
    "BusyLoadingError": "it is still loading its data",
    "ClusterDownError": "its cluster is down",
    "MasterDownError": "it is a replica that has lost its master: give the address of the master",
    "MovedError": "it is one node of a cluster, and this stream belongs to another: give the address of that node",
    "NoPermissionError": "this user needs {rights} and the keys of the streams (ACL SETUSER)",
    "OutOfMemoryError": "its memory is full: set max_length, or give it more (maxmemory)",
    "ReadOnlyError": "it is a replica: give the address of the master",
    "TooLarge": "for a stream, delete the entry with XDEL",
}
"""What to do, by the names of the library's errors."""


class RedisServer(ServerConfig):
    """Options by which a plugin finds its Redis."""

    url: Annotated[Url, Meta(examples=["redis://localhost:6379/0"])]
    """The server: redis://HOST:PORT/DATABASE, rediss:// with TLS, or unix:///PATH?db=DATABASE."""


def check(config: RedisServer) -> list[str]:
    """Return what is wrong with the options by which a plugin finds its Redis."""
    wrong = check_server(config, {"redis": False, "rediss": True, "unix": False}, query="db=[0-9]+")
    if config.user is not None and config.password is None:
        wrong.append("user needs password")
    return wrong


def library() -> ModuleType:
    """Import the client library. Raises ``RuntimeError`` that says where to get it."""
    try:
        return importlib.import_module("redis.asyncio")
    except ImportError:
        raise RuntimeError("the library redis is missing: pip install 'agentd[redis]'") from None


def settings(config: RedisServer) -> dict[str, Any]:
    """Return what the library's connections are made with, beside the address."""
    from agentd_plugins._redis_parser import Parser

    # The older protocol: the newer one begins with a command that an ACL may refuse, and has nothing for streams.
    settings: dict[str, Any] = {"protocol": 2, "socket_connect_timeout": PATIENCE, "socket_timeout": None}
    settings["parser_class"] = Parser
    if config.password is not None:
        settings |= {"username": config.user, "password": config.password.reveal()}
    if not config.url.startswith("unix:"):
        settings["socket_keepalive"] = True
    if config.url.startswith("rediss:"):
        context = tls(config)  # says better than the library what is wrong with a file
        settings["ssl_exclude_verify_flags"] = [flag for flag in ssl.VerifyFlags if flag not in context.verify_flags]
        settings |= {"ssl_ca_certs": config.ca_file, "ssl_check_hostname": True}
        settings |= {"ssl_certfile": config.cert_file, "ssl_keyfile": config.key_file}
    return settings


def advised(error: Exception, rights: str) -> str:
    """Return an error of the library with what to do about it; ``rights`` are the commands that the plugin uses."""
    advice = next((_ADVICE[each.__name__] for each in type(error).__mro__ if each.__name__ in _ADVICE), "")
    if advice:
        return f"{error} ({advice.format(rights=rights)})"
    # The library names the server, its own number and the system's, all in one sentence.
    refused = error.__cause__ or error.__context__
    if type(error).__name__ == "ConnectionError" and isinstance(refused, OSError) and refused.errno:
        return in_words(refused)
    return str(error) or type(error).__name__

"""The configuration: TOML files in, typed and checked settings out, every error at once.

What describes options to people (``agentd.config.describe``) is imported by the command line alone.
"""

from agentd.config.apart import apart
from agentd.config.kept import keep, kept
from agentd.config.problems import DEFAULT, ConfigError, Origin, Problem, suggest
from agentd.config.resolve import KEYS, Catalog, core, resolve
from agentd.config.settings import (
    AgentSettings,
    CollectorKeys,
    ExporterKeys,
    Instance,
    JournalSettings,
    Settings,
    SinkKeys,
)
from agentd.config.source import DEFAULT_FILE, Document, Overrides, find, read
from agentd.config.tokens import Token, read_tokens
from agentd.config.web import CIPHER_SUITES, BasicAuth, Listener, Tls, WebSettings, parse_address

__all__ = [
    "CIPHER_SUITES",
    "DEFAULT",
    "DEFAULT_FILE",
    "KEYS",
    "AgentSettings",
    "BasicAuth",
    "Catalog",
    "CollectorKeys",
    "ConfigError",
    "Document",
    "ExporterKeys",
    "Instance",
    "JournalSettings",
    "Listener",
    "Origin",
    "Overrides",
    "Problem",
    "Settings",
    "SinkKeys",
    "Tls",
    "Token",
    "WebSettings",
    "apart",
    "core",
    "find",
    "keep",
    "kept",
    "parse_address",
    "read",
    "read_tokens",
    "resolve",
    "suggest",
]

"""agentd: an observability agent for servers and robots."""

__version__ = "0.1.0"

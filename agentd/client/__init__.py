"""The client of a robot: sends telemetry to an agent, and keeps what the agent has not acknowledged.

Needs Python 3.11 and aiohttp alone. Docs: docs/robots.md.
"""

from agentd.client.client import TelemetryClient
from agentd.client.connection import Problem
from agentd.client.ending import RefusedError, TelemetryError
from agentd.client.file import FileQueue
from agentd.client.queue import MemoryQueue

__all__ = ["FileQueue", "MemoryQueue", "Problem", "RefusedError", "TelemetryClient", "TelemetryError"]

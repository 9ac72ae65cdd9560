"""An agent that its tests kill and start again, and a session to ask it by."""

import aiohttp
import pytest

from agentd.testing.agent import AgentProcess


@pytest.fixture
async def session():
    """A session of HTTP."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def robot_agent(request, tmp_path, session):
    """An agent that takes robots, with the CONFIGURATION of the test's module."""
    agent = AgentProcess(tmp_path / "agent", request.module.CONFIGURATION)
    await agent.start(session)
    yield agent
    await agent.stop()

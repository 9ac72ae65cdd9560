"""The pytest plugin: what plugin authors' tests ask for by name. It is loaded by pytest, and by nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentd.testing.clock import FakeClock
    from agentd.testing.golden import Golden
    from agentd.testing.recorder import Recorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-golden``."""
    group = parser.getgroup("agentd", "agentd's plugins")
    group.addoption("--update-golden", action="store_true", help="Write the golden files anew that tests compare with.")


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it."""
    from agentd.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def recorder(clock: FakeClock) -> Recorder:
    """Keeps what a plugin emits and commits, at the time of ``clock``."""
    from agentd.testing.recorder import Recorder

    return Recorder(clock=clock)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares with a file in the folder ``golden`` beside the test's own, or writes it with ``--update-golden``."""
    from agentd.testing.golden import Golden

    update = bool(request.config.getoption("--update-golden"))
    return Golden(request.path.parent / "golden", request.node.name, update=update)

"""The options of the collector of robots: what is wrong with them is said before anything runs."""

import pytest

from agentd.options import Duration
from agentd_plugins.collectors.robots.meaning import Override
from agentd_plugins.collectors.robots.settings import RobotsConfig


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stale_after": Duration(0)}, "stale_after must be longer than 0s"),
        ({"ping_every": Duration(0)}, "ping_every must be longer than 0s"),
        ({"forget_after": Duration(5)}, "forget_after must not be shorter than stale_after"),
        ({"expected_robots": ["amr-1", "amr 9"]}, "found 'amr 9'"),
        ({"expected_robots": ["a", "b"], "max_robots": 1}, "more than max_robots"),
        ({"signal_state": ["robot_batery"]}, "there is no metric 'robot_batery'"),
        ({"overrides": [Override(field="batery_level", scale=1.0)]}, "no field 'batery_level': say which metric"),
        ({"overrides": [Override(field="x", metric="robot_nix")]}, "there is no metric 'robot_nix'"),
    ],
)
def test_what_is_wrong(options, says):
    """A mistake that would be silent later is an error that names the option and what was found."""
    with pytest.raises(ValueError, match=says):
        RobotsConfig(**options)


def test_all_at_once():
    """Several mistakes are told together."""
    with pytest.raises(ValueError, match=r"stale_after .*; expected_robots: .*; signal_state: "):
        RobotsConfig(stale_after=Duration(0), expected_robots=[""], signal_state=["nix"])


def test_an_unknown_field_with_a_metric():
    """A field that the vocabulary does not have may be given a metric of it."""
    RobotsConfig(overrides=[Override(field="akku", metric="robot_battery_charge_ratio", scale=0.01)])

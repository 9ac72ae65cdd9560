"""docs/missions.md says what is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/missions.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_check(text, tmp_path):
    """Each example of configuration is accepted as it stands."""
    (tmp_path / "agentd.toml").write_text(text)
    command = [sys.executable, "-m", "agentd", "check", "--config", str(tmp_path / "agentd.toml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def test_every_key_of_a_rule_is_explained():
    """The table of a rule's keys has each of them."""
    from agentd_plugins.collectors.event_rules.options import RuleConfig

    table = PAGE.read_text().partition("| key of a rule |")[2]
    for key in RuleConfig.__struct_fields__:
        assert f"`{key}`" in table, key


def test_an_error_in_a_rule_names_its_line(tmp_path):
    """What is wrong in a rule is told with file, line and key."""
    file = tmp_path / "agentd.toml"
    file.write_text(
        '[[collectors.event_rules.rules]]\nname = "a_total"\nwen = ["x"]\n'
        '[[collectors.event_rules.rules]]\nname = "b"\nkind = "gauge"\n'
    )
    command = [sys.executable, "-m", "agentd", "check", "--config", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode != 0
    assert f'{file}:3: collectors.event_rules.rules[0].wen: no such option. Did you mean "when"?' in result.stderr
    assert "collectors.event_rules.rules[1]: a gauge needs value" in result.stderr

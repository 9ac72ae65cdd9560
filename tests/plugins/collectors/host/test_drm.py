"""The collector drm."""

from agentd.plugin import Context, Host, HostPaths
from agentd_plugins.collectors.host.drm import FOLDER, Drm


def card(tmp_path, name, driver, **files):
    """Make a graphics card."""
    folder = tmp_path / FOLDER / name / "device"
    folder.mkdir(parents=True)
    (folder / "uevent").write_text(f"DRIVER={driver}\nPCI_CLASS=30000\n")
    for file, content in files.items():
        (folder / file).write_text(f"{content}\n")


def told(tmp_path):
    """Return the samples by the rest of each family's name."""
    families = Drm(context=Context(host=Host(HostPaths(sysfs=str(tmp_path))))).collect()
    return {family.name.removeprefix("node_drm_"): family.samples for family in families}


def test_cards_of_amd_are_told(tmp_path):
    """Others, and their connectors, are not; what a card lacks is left out."""
    card(
        tmp_path, "card0", "amdgpu", gpu_busy_percent=37, mem_info_vram_used=1024, unique_id="a1", mem_info_gtt_used="?"
    )
    card(tmp_path, "card1", "i915", gpu_busy_percent=1)
    card(tmp_path, "card2", "amdgpu_like", gpu_busy_percent=1)
    (tmp_path / FOLDER / "card0-DP-1").mkdir()
    assert told(tmp_path) == {
        "gpu_busy_percent": {("card0",): 37.0},
        "memory_vram_used_bytes": {("card0",): 1024.0},
        "card_info": {("card0", "", "", "a1", "amd"): 1.0},
    }


def test_no_card_is_no_failure(tmp_path):
    """Most servers have none."""
    assert told(tmp_path) == {}

"""Graphics cards, from /sys/class/drm; those of AMD only, whose driver tells the most (Documentation/gpu/amdgpu)."""

from agentd.plugin import Collector, Config, Context, Family, Labels, gauge, hookimpl
from agentd_plugins.collectors.host._sysfs import Sysfs

FOLDER = "class/drm"

CARD = ("card",)

WORDS = ("mem_info_vram_vendor", "power_dpm_force_performance_level", "unique_id")


class Drm(Collector[Config]):
    """Graphics cards of AMD: their memory, and how busy they are."""

    name = "drm"
    blocking = True  # a card that sleeps may be woken up by being asked

    numbers = {
        "gpu_busy_percent": gauge("node_drm_gpu_busy_percent", "How busy the card is, in percent.", CARD),
        "mem_info_gtt_total": gauge(
            "node_drm_memory_gtt_size_bytes", "Main memory that the card may use, in bytes.", CARD
        ),
        "mem_info_gtt_used": gauge("node_drm_memory_gtt_used_bytes", "Main memory that it uses, in bytes.", CARD),
        "mem_info_vis_vram_total": gauge(
            "node_drm_memory_vis_vram_size_bytes", "Memory of the card that CPUs can reach, in bytes.", CARD
        ),
        "mem_info_vis_vram_used": gauge(
            "node_drm_memory_vis_vram_used_bytes",
            "Memory of the card that CPUs can reach and is in use, in bytes.",
            CARD,
        ),
        "mem_info_vram_total": gauge("node_drm_memory_vram_size_bytes", "Memory of the card, in bytes.", CARD),
        "mem_info_vram_used": gauge("node_drm_memory_vram_used_bytes", "Memory of the card in use, in bytes.", CARD),
    }
    info = gauge(
        "node_drm_card_info",
        "Always 1: the labels say what a card is, and how its power is managed.",
        ("card", "memory_vendor", "power_performance_level", "unique_id", "vendor"),
    )

    def __init__(self, config: Config | None = None, context: Context | None = None) -> None:
        super().__init__(config, context)
        self._sysfs = Sysfs(self.host, self.log)

    def collect(self) -> list[Family]:
        """Return what each card says; a machine may have none."""
        cards = [name for name in self._sysfs.numbered(FOLDER, "card") if name[4:].isdecimal() and self._is_amd(name)]
        families = []
        for file, metric in self.numbers.items():
            samples = {card: value for card in cards if (value := self._number(card, file)) is not None}
            families.append(metric(samples))
        info: dict[Labels, float] = {(card, *(self._word(card, word) for word in WORDS), "amd"): 1.0 for card in cards}
        return [family for family in (*families, self.info(info)) if family.samples]

    def _is_amd(self, card: str) -> bool:
        return "DRIVER=amdgpu" in (self._sysfs.text(f"{FOLDER}/{card}/device/uevent") or "").split()

    def _number(self, card: str, file: str) -> float | None:
        return self._sysfs.count(f"{FOLDER}/{card}/device/{file}")

    def _word(self, card: str, file: str) -> str:
        return self._sysfs.text(f"{FOLDER}/{card}/device/{file}") or ""


@hookimpl
def agentd_collectors() -> list[type[Drm]]:
    """Register the collector."""
    return [Drm]

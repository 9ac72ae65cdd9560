"""NVIDIA's GPUs, asked through the driver's management library (NVML), under the names of NVIDIA's DCGM exporter."""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from agentd.plugin import Collector, Config, Context, Family, Labels, Metric, NoData, Refused, counter, gauge, hookimpl

MEBIBYTE = 1 / 2**20
MILLIWATT = 0.001
LABELS = ("gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION")

REFUSED = "NVIDIA's GPUs are left out: opening their devices takes the drop-in gpu.conf, or a group that may"


def metric(declare: Callable[..., Metric], field: str, help: str, unit: str = "") -> Metric:
    """Declare the family of one of DCGM's fields."""
    return declare(f"DCGM_FI_{field}", help, LABELS, unit=unit)


class Gpu(Collector[Config]):
    """Load, memory, temperature, power, clocks and errors of each GPU.

    A number that a device does not have is left out. Units are DCGM's: MiB, MHz, %, mJ.
    ``DCGM_FI_DEV_XID_ERRORS`` is missing: NVML tells of an XID only those who wait for it; the kernel's log has all.
    """

    name = "gpu"
    extra = "gpu"

    sm_clock = metric(gauge, "DEV_SM_CLOCK", "Clock of the streaming multiprocessors, in MHz.", "MHz")
    memory_clock = metric(gauge, "DEV_MEM_CLOCK", "Clock of the memory, in MHz.", "MHz")
    memory_temperature = metric(gauge, "DEV_MEMORY_TEMP", "Temperature of the memory, in °C.", "°C")
    temperature = metric(gauge, "DEV_GPU_TEMP", "Temperature of the GPU, in °C.", "°C")
    power = metric(gauge, "DEV_POWER_USAGE", "Electric power that is drawn, in W.", "W")
    energy = metric(counter, "DEV_TOTAL_ENERGY_CONSUMPTION", "Energy used since the driver was loaded, in mJ.", "mJ")
    replays = metric(counter, "DEV_PCIE_REPLAY_COUNTER", "Number of packets that were sent again over PCI Express.")
    load = metric(gauge, "DEV_GPU_UTIL", "Share of the last sample's time in which the GPU computed, in %.", "%")
    copying = metric(gauge, "DEV_MEM_COPY_UTIL", "Share of the time in which memory was read or written, in %.", "%")
    encoder = metric(gauge, "DEV_ENC_UTIL", "Share of the time in which the video encoder worked, in %.", "%")
    decoder = metric(gauge, "DEV_DEC_UTIL", "Share of the time in which the video decoder worked, in %.", "%")
    memory_free = metric(gauge, "DEV_FB_FREE", "Memory that is free, in MiB.", "MiB")
    memory_used = metric(
        gauge, "DEV_FB_USED", "Memory in use, what the driver keeps for itself not counted, in MiB.", "MiB"
    )
    memory_reserved = metric(gauge, "DEV_FB_RESERVED", "Memory that the driver keeps for itself, in MiB.", "MiB")
    fan = metric(gauge, "DEV_FAN_SPEED", "Speed of the fans, in % of the highest.", "%")
    corrected = metric(counter, "DEV_ECC_SBE_VOL_TOTAL", "Errors of one bit that were corrected since booting.")
    uncorrected = metric(counter, "DEV_ECC_DBE_VOL_TOTAL", "Errors of two bits, beyond correction, since booting.")
    remapped_corrected = metric(counter, "DEV_CORRECTABLE_REMAPPED_ROWS", "Rows replaced after corrected errors.")
    remapped_uncorrected = metric(
        counter, "DEV_UNCORRECTABLE_REMAPPED_ROWS", "Rows replaced after errors beyond correction."
    )
    remap_failure = metric(gauge, "DEV_ROW_REMAP_FAILURE", "1 where replacing a row has failed, else 0.")

    def __init__(self, config: Config | None = None, context: Context | None = None, nvml: Any = None) -> None:
        """``nvml`` takes the place of the module ``pynvml``, in a test say."""
        super().__init__(config, context)
        self._nvml = nvml
        self._begun = False

    async def start(self) -> None:
        """Check that the library's module is there; the driver is looked for at each collection until it is found."""
        if self._nvml is None:
            try:
                self._nvml = importlib.import_module("pynvml")
            except ImportError:
                raise RuntimeError("the library nvidia-ml-py is missing: pip install 'agentd[gpu]'") from None

    async def stop(self) -> None:
        """Let go of the driver."""
        self._end()

    def collect(self) -> list[Family]:
        """Return the numbers of all GPUs."""
        self._begin()
        try:
            count = self._nvml.nvmlDeviceGetCount()
            driver = text(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError:
            self._end()  # the driver was exchanged, say: begin anew the next time
            raise
        if not count:
            raise NoData("there is no NVIDIA GPU")
        samples: dict[Metric, dict[Labels, float]] = {}
        refused = False
        for index in range(count):
            try:
                device = self._nvml.nvmlDeviceGetHandleByIndex(index)
                labels = (*self._identity(index, device), os.uname().nodename, driver)
            except self._nvml.NVMLError as error:  # fallen off the bus, or not for this user
                self.log.debug("GPU %d cannot be asked: %s", index, error)
                refused |= getattr(error, "value", None) == self._nvml.NVML_ERROR_NO_PERMISSION
                continue
            for family, value in self._numbers(device).items():
                samples.setdefault(family, {})[labels] = value
        if refused and not samples:
            raise Refused(REFUSED)
        return [family(values) for family, values in samples.items()]

    def _begin(self) -> None:
        if self._begun:
            return
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            value, unloaded = getattr(error, "value", None), self._nvml.NVML_ERROR_DRIVER_NOT_LOADED
            # Without its devices the library takes the driver for one that is not loaded.
            hidden = value == unloaded and self.host.has("module/nvidia")
            if hidden or value == self._nvml.NVML_ERROR_NO_PERMISSION:
                raise Refused(REFUSED) from None
            if value in (unloaded, self._nvml.NVML_ERROR_LIBRARY_NOT_FOUND):
                raise NoData("there is no driver of NVIDIA") from None
            raise
        self._begun = True

    def _end(self) -> None:
        if self._begun:
            self._begun = False
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError as error:
                self.log.debug("the driver's library did not end well: %s", error)

    def _identity(self, index: int, device: Any) -> tuple[str, ...]:
        nvml = self._nvml
        try:
            minor = f"nvidia{nvml.nvmlDeviceGetMinorNumber(device)}"
        except nvml.NVMLError:  # there is no such file under Windows
            minor = f"nvidia{index}"
        bus = text(nvml.nvmlDeviceGetPciInfo(device).busId)
        return str(index), text(nvml.nvmlDeviceGetUUID(device)), bus, minor, text(nvml.nvmlDeviceGetName(device))

    def _numbers(self, device: Any) -> Mapping[Metric, float]:
        found: dict[Metric, float] = {}
        for families, ask in READINGS:
            try:
                values = ask(self._nvml, device)
            except (self._nvml.NVMLError, AttributeError):  # not this model; or a module older than the question
                continue
            found |= {getattr(self, name): float(value) for name, value in zip(families, values, strict=False)}
        return found


def memory(nvml: Any, device: Any) -> tuple[float, ...]:
    """Return free, used and reserved memory in MiB; drivers before 510 count as used what they reserve."""
    try:
        info = nvml.nvmlDeviceGetMemoryInfo(device, nvml.nvmlMemory_v2)
    except (nvml.NVMLError, AttributeError):  # the latter from a module as old as such a driver
        info = nvml.nvmlDeviceGetMemoryInfo(device)
        return info.free * MEBIBYTE, info.used * MEBIBYTE
    return info.free * MEBIBYTE, info.used * MEBIBYTE, info.reserved * MEBIBYTE


def memory_temperature(nvml: Any, device: Any) -> tuple[float, ...]:
    """Return the temperature of the memory in °C."""
    (value,) = nvml.nvmlDeviceGetFieldValues(device, [nvml.NVML_FI_DEV_MEMORY_TEMP])
    if value.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(value.nvmlReturn)
    return (float(value.value.uiVal),)


def utilization(nvml: Any, device: Any) -> tuple[float, ...]:
    """Return how busy the GPU and its memory are, in %."""
    rates = nvml.nvmlDeviceGetUtilizationRates(device)
    return rates.gpu, rates.memory


def remapped(nvml: Any, device: Any) -> tuple[float, ...]:
    """Return rows replaced for corrected errors, for others, and whether replacing one failed."""
    corrected, uncorrected, _pending, failed = nvml.nvmlDeviceGetRemappedRows(device)
    return corrected, uncorrected, failed


READINGS: tuple[tuple[tuple[str, ...], Callable[[Any, Any], tuple[float, ...]]], ...] = (
    (("sm_clock",), lambda nvml, device: (nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),)),
    (("memory_clock",), lambda nvml, device: (nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM),)),
    (("temperature",), lambda nvml, device: (nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),)),
    (("memory_temperature",), memory_temperature),
    (("power",), lambda nvml, device: (nvml.nvmlDeviceGetPowerUsage(device) * MILLIWATT,)),
    (("energy",), lambda nvml, device: (nvml.nvmlDeviceGetTotalEnergyConsumption(device),)),
    (("replays",), lambda nvml, device: (nvml.nvmlDeviceGetPcieReplayCounter(device),)),
    (("load", "copying"), utilization),
    (("encoder",), lambda nvml, device: nvml.nvmlDeviceGetEncoderUtilization(device)[:1]),
    (("decoder",), lambda nvml, device: nvml.nvmlDeviceGetDecoderUtilization(device)[:1]),
    (("memory_free", "memory_used", "memory_reserved"), memory),
    (("fan",), lambda nvml, device: (nvml.nvmlDeviceGetFanSpeed(device),)),
    (
        ("corrected",),
        lambda nvml, device: (
            nvml.nvmlDeviceGetTotalEccErrors(device, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC),
        ),
    ),
    (
        ("uncorrected",),
        lambda nvml, device: (
            nvml.nvmlDeviceGetTotalEccErrors(device, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
        ),
    ),
    (("remapped_corrected", "remapped_uncorrected", "remap_failure"), remapped),
)
"""Which families one question answers; an answer may be shorter."""


def text(value: object) -> str:
    """Return what NVML calls something: bytes in older modules, text in newer ones."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@hookimpl
def agentd_collectors() -> list[type[Gpu]]:
    """Register the collector."""
    return [Gpu]

"""The collector gpu, with a pretended NVML in the place of NVIDIA's: no test here has seen a real GPU."""

import inspect
import re
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from agentd.plugin import Context, Host, HostPaths, NoData, Refused
from agentd_plugins.collectors import gpu
from agentd_plugins.collectors.gpu import LABELS, Gpu

NOT_SUPPORTED, NOT_FOUND, LOST, NO_LIBRARY, NO_DRIVER, NO_PERMISSION = 3, 6, 15, 12, 9, 4


class NVMLError(Exception):
    """As in pynvml."""

    def __init__(self, value):
        super().__init__(f"error {value}")
        self.value = value


class Nvml:
    """A pretended NVML with two GPUs; ``lacks`` names questions that the second one cannot answer."""

    NVMLError = NVMLError
    NVML_SUCCESS = 0
    NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_DRIVER_NOT_LOADED = NO_LIBRARY, NO_DRIVER
    NVML_ERROR_NO_PERMISSION = NO_PERMISSION
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU, NVML_FI_DEV_MEMORY_TEMP = 1, 2, 0, 82
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 0, 1, 0
    nvmlMemory_v2 = 0x2000028  # noqa: N815

    def __init__(self, lacks=(), count=2, begins=0, lost=False):
        self.lacks, self.count, self.begins, self.lost = lacks, count, begins, lost
        self.open = 0

    def nvmlInit(self):  # noqa: N802
        if self.begins:
            raise NVMLError(self.begins)
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        if self.lost:
            raise NVMLError(LOST)
        return self.count

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return b"550.54.15"

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if ("handle", index) in self.lacks:
            raise NVMLError(LOST)
        if ("right", index) in self.lacks:
            raise NVMLError(NO_PERMISSION)
        return index

    def __getattr__(self, name):
        answers = {
            "nvmlDeviceGetMinorNumber": lambda device: device + 4,
            "nvmlDeviceGetPciInfo": lambda device: SimpleNamespace(busId=f"00000000:0{device}:00.0".encode()),
            "nvmlDeviceGetUUID": lambda device: f"GPU-{device}",
            "nvmlDeviceGetName": lambda device: b"NVIDIA L4",
            "nvmlDeviceGetClockInfo": lambda device, which: {1: 1410, 2: 877}[which],
            "nvmlDeviceGetTemperature": lambda device, which: 61,
            "nvmlDeviceGetFieldValues": lambda device, ids: [
                SimpleNamespace(nvmlReturn=0 if device == 0 else NOT_SUPPORTED, value=SimpleNamespace(uiVal=70))
            ],
            "nvmlDeviceGetPowerUsage": lambda device: 71_500,
            "nvmlDeviceGetTotalEnergyConsumption": lambda device: 123_456,
            "nvmlDeviceGetPcieReplayCounter": lambda device: 5,
            "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=97, memory=33),
            "nvmlDeviceGetEncoderUtilization": lambda device: [4, 16_667],
            "nvmlDeviceGetDecoderUtilization": lambda device: [6, 16_667],
            "nvmlDeviceGetMemoryInfo": lambda device, version: SimpleNamespace(
                free=2**30, used=3 * 2**30, reserved=300 * 2**20
            ),
            "nvmlDeviceGetFanSpeed": lambda device: 40,
            "nvmlDeviceGetTotalEccErrors": lambda device, kind, since: 2 + kind,
            "nvmlDeviceGetRemappedRows": lambda device: (8, 9, 1, 0),
        }
        if name not in answers:
            raise AttributeError(name)

        def ask(device, *arguments):
            if device == 1 and name in self.lacks:
                raise NVMLError(NOT_SUPPORTED)
            return answers[name](device, *arguments)

        return ask


def told(collector):
    """Return the values by name and number of the GPU."""
    return {(family.name, key[0]): value for family in collector.collect() for key, value in family.samples.items()}


def test_each_gpu_has_the_fields_of_dcgm():
    """Every number stands under DCGM's name and in its unit."""
    values = told(Gpu(nvml=Nvml(count=1)))
    assert {name.removeprefix("DCGM_FI_DEV_"): value for (name, _), value in values.items()} == {
        "SM_CLOCK": 1410.0,
        "MEM_CLOCK": 877.0,
        "GPU_TEMP": 61.0,
        "MEMORY_TEMP": 70.0,
        "POWER_USAGE": 71.5,
        "TOTAL_ENERGY_CONSUMPTION": 123456.0,
        "PCIE_REPLAY_COUNTER": 5.0,
        "GPU_UTIL": 97.0,
        "MEM_COPY_UTIL": 33.0,
        "ENC_UTIL": 4.0,
        "DEC_UTIL": 6.0,
        "FB_FREE": 1024.0,
        "FB_USED": 3072.0,
        "FB_RESERVED": 300.0,
        "FAN_SPEED": 40.0,
        "ECC_SBE_VOL_TOTAL": 2.0,
        "ECC_DBE_VOL_TOTAL": 3.0,
        "CORRECTABLE_REMAPPED_ROWS": 8.0,
        "UNCORRECTABLE_REMAPPED_ROWS": 9.0,
        "ROW_REMAP_FAILURE": 0.0,
    }


def test_the_labels_say_which_gpu_it_is():
    """The labels are DCGM's; what NVML tells as bytes is text."""
    family = next(iter(Gpu(nvml=Nvml()).collect()))
    labels = dict(zip(LABELS, list(family.samples)[1], strict=True))
    assert labels.pop("Hostname")
    assert labels == {
        "gpu": "1",
        "UUID": "GPU-1",
        "pci_bus_id": "00000000:01:00.0",
        "device": "nvidia5",
        "modelName": "NVIDIA L4",
        "DCGM_FI_DRIVER_VERSION": "550.54.15",
    }


def test_what_a_gpu_lacks_is_left_out():
    """A question that one model cannot answer costs only that sample."""
    values = told(Gpu(nvml=Nvml(lacks={"nvmlDeviceGetFanSpeed", "nvmlDeviceGetMinorNumber"})))
    assert ("DCGM_FI_DEV_FAN_SPEED", "0") in values
    assert ("DCGM_FI_DEV_FAN_SPEED", "1") not in values
    assert ("DCGM_FI_DEV_MEMORY_TEMP", "1") not in values  # says so in the value's own return code
    assert ("DCGM_FI_DEV_GPU_TEMP", "1") in values


def test_a_gpu_that_is_lost_leaves_the_others():
    """A GPU that fell off the bus is left out, the other one is told of."""
    values = told(Gpu(nvml=Nvml(lacks={("handle", 0)})))
    assert {number for _, number in values} == {"1"}


@pytest.mark.parametrize("nvml", [Nvml(begins=NO_LIBRARY), Nvml(begins=NO_DRIVER), Nvml(count=0)])
def test_without_a_gpu_there_is_no_data(nvml):
    """A machine without the driver or without a GPU lacks the thing."""
    with pytest.raises(NoData, match="NVIDIA"):
        Gpu(nvml=nvml).collect()


@pytest.mark.parametrize(
    "nvml", [Nvml(begins=NO_DRIVER), Nvml(begins=NO_PERMISSION), Nvml(lacks={("right", 0), ("right", 1)})]
)
def test_devices_that_may_not_be_opened_are_no_absent_driver(tmp_path, nvml):
    """Where the driver is loaded and its devices are closed to the agent, the reason names the drop-in."""
    (tmp_path / "module/nvidia/parameters").mkdir(parents=True)
    with pytest.raises(Refused, match=r"gpu\.conf"):
        Gpu(context=Context(host=Host(HostPaths(sysfs=str(tmp_path)))), nvml=nvml).collect()


async def test_a_driver_that_fails_is_begun_anew():
    """A driver that breaks is an error, and is opened again the next time; the end closes it, twice if need be."""
    nvml = Nvml()
    collector = Gpu(nvml=nvml)
    await collector.start()
    collector.collect()
    collector.collect()
    assert nvml.open == 1
    nvml.lost = True
    with pytest.raises(NVMLError):
        collector.collect()
    assert nvml.open == 0
    nvml.lost = False
    assert collector.collect()
    await collector.stop()
    await collector.stop()
    assert nvml.open == 0


async def test_the_missing_library_is_named(monkeypatch):
    """Without nvidia-ml-py the collector cannot start, and says which extra to install."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(RuntimeError, match=r"pip install 'agentd\[gpu\]'"):
        await Gpu().start()


def test_an_older_driver_tells_less_of_its_memory():
    """Where the driver does not say what it keeps for itself, free and used memory are told alone."""
    nvml = Nvml(count=1)
    nvml.nvmlDeviceGetMemoryInfo = older_memory
    values = told(Gpu(nvml=nvml))
    assert (values["DCGM_FI_DEV_FB_FREE", "0"], values["DCGM_FI_DEV_FB_USED", "0"]) == (1.0, 2.0)
    assert ("DCGM_FI_DEV_FB_RESERVED", "0") not in values


class OlderNvml(Nvml):
    """A module that knows only the first form of the question."""

    def __getattribute__(self, name):
        if name == "nvmlMemory_v2":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def nvmlDeviceGetMemoryInfo(self, device):  # noqa: N802
        return SimpleNamespace(free=2**20, used=2 * 2**20)


def test_an_older_module_tells_less_of_the_memory():
    """A module from before the second form of the question costs only what the driver keeps for itself."""
    values = told(Gpu(nvml=OlderNvml(count=1)))
    assert values["DCGM_FI_DEV_FB_FREE", "0"] == 1.0
    assert ("DCGM_FI_DEV_FB_RESERVED", "0") not in values


def older_memory(device, version=None):
    """Answer as a driver that knows only the first form of the question."""
    if version is not None:
        raise NVMLError(NOT_FOUND)
    return SimpleNamespace(free=2**20, used=2 * 2**20)


async def test_the_real_library_has_all_that_is_asked_of_it():
    """NVIDIA's own module has every name that is used here, and its absent driver means that there is no data."""
    nvml = pytest.importorskip("pynvml", reason="the extra gpu (nvidia-ml-py) is not installed")
    used = set(re.findall(r"nvml\.(\w+)", inspect.getsource(gpu)))
    assert len(used) > 25
    assert {name for name in used if not hasattr(nvml, name)} == set()
    collector = Gpu()
    await collector.start()
    with suppress(NoData):
        collector.collect()
    await collector.stop()

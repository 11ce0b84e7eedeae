"""Time, memory and energy of work on a device."""

import sys
from types import SimpleNamespace

import pytest
import torch

from scripts.lm import devices
from scripts.lm.devices import Meter, device_name, energy_joules


class NVMLError(Exception):
    pass


def counting(*millijoules: int) -> SimpleNamespace:
    """Return a stand-in for NVML's module: one GPU whose energy counter has these readings."""
    left = iter(millijoules)

    def read(handle: str) -> int:
        assert handle == "GPU-0001"
        try:
            return next(left)
        except StopIteration:
            raise NVMLError from None

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=read,
    )


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make torch say that it computes on a GPU."""
    properties = SimpleNamespace(uuid="0001")
    stand_ins = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "get_device_properties": lambda device: properties,
        "get_device_name": lambda: "a GPU",
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: 3 * 2**20,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return monkeypatch


def test_a_cpu_counts_no_energy() -> None:
    found = Meter().cost()
    assert found["device"] == device_name()
    assert found["seconds"] >= 0
    # More than Python with torch in it, less than a machine.
    assert 50 < found["peak_memory_mb"] < 1_000_000
    assert found["energy_joules"] is None


def test_a_gpu_counts_joules_between_two_readings(gpu: pytest.MonkeyPatch) -> None:
    gpu.setitem(sys.modules, "pynvml", counting(5_000, 12_500))
    gpu.setattr(devices.time, "monotonic", iter([10.0, 12.25]).__next__)
    assert Meter().cost() == {
        "device": "a GPU", "seconds": 2.25, "peak_memory_mb": 3.0, "energy_joules": 7.5,
    }  # fmt: skip


def test_a_gpu_that_does_not_count(gpu: pytest.MonkeyPatch) -> None:
    gpu.setitem(sys.modules, "pynvml", counting())
    assert energy_joules() is None
    gpu.setitem(sys.modules, "pynvml", None)
    assert energy_joules() is None
    # One reading is not enough.
    gpu.setitem(sys.modules, "pynvml", counting(5_000))
    assert Meter().cost()["energy_joules"] is None

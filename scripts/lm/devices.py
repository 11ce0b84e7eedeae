"""The device that torch computes on, and what work on it costs."""

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def pin_threads() -> None:
    """Use one thread on a CPU, because one and two threads give different bytes."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def precision_of(model: "PreTrainedModel | PeftModel") -> str:
    """Return the precision that a model computes in, as records hold it."""
    return str(model.dtype).removeprefix("torch.")


def check_precision(
    record: Path, content: dict[str, Any], model: "PreTrainedModel | PeftModel"
) -> None:
    """Raise BadInput if a job's record says that its model computed in another precision.

    With `precision: auto`, that happens where two machines differ. What has no record is of no job.
    """
    found, own = content.get("precision"), precision_of(model)
    if found not in (None, own):
        raise BadInput(
            f"{record}: precision: found {found}, but this machine computes in {own}; with "
            "precision: auto a run needs machines that compute alike; else name the precision"
        )


def device_name() -> str:
    """Return the name of the GPU that torch computes on, or of the CPU if there is no GPU."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Meter:
    """Measures time, memory and energy from its creation on."""

    def __init__(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.energy = energy_joules()
        self.start = time.monotonic()

    def cost(self) -> dict[str, Any]:
        """Return device, seconds, peak_memory_mb (MiB), and energy_joules if the GPU counts it."""
        seconds = time.monotonic() - self.start
        before, now = self.energy, energy_joules()
        return {
            "device": device_name(),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "energy_joules": None if now is None or before is None else now - before,
        }


def peak_memory_mb() -> float:
    """Return the GPU's peak allocation, or on a CPU the process's peak resident size, in MiB."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def energy_joules() -> float | None:
    """Return the energy of the GPU since its driver was loaded; None if it is not counted.

    It is that of the whole board, other processes included: NVIDIA's management library,
    https://docs.nvidia.com/deploy/nvml-api, nvmlDeviceGetTotalEnergyConsumption (from Volta on, not
    for a MIG instance).
    """
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:
        return None

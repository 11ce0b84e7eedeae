"""The machine's device."""

import platform
from pathlib import Path


def pin_threads() -> None:
    """Pins one thread on a CPU, because one and two threads give different bytes."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def device_name() -> str:
    """Returns the name of the GPU that torch computes on, or of the CPU where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

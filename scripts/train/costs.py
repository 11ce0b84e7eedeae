"""What training takes, over all the attempts that its result is made of."""

from typing import Any

from transformers import TrainerCallback

from scripts.common.files import Row
from scripts.lm.devices import Meter


class Costs(TrainerCallback):
    """Takes time, memory and energy, and goes on from what a checkpoint had taken.

    What was lost between a checkpoint and a kill is done again, and counted once.
    """

    def __init__(self) -> None:
        self.meter = Meter()
        self.before: Row | None = None

    def kept(self) -> Row:
        """Returns devices, seconds, MiB at the peak, and joules where every device counted them."""
        now, before = self.meter.cost(), self.before
        if before is None:
            return now
        energies = (before["energy_joules"], now["energy_joules"])
        return {
            "device": _named([before["device"], now["device"]]),
            "seconds": round(before["seconds"] + now["seconds"], 3),
            "peak_memory_mb": max(before["peak_memory_mb"], now["peak_memory_mb"]),
            "energy_joules": None if None in energies else sum(energies),
        }

    def restore(self, kept: Any) -> None:
        """Takes back what a checkpoint had taken."""
        self.before = kept


def together(costs: list[Row]) -> Row:
    """Returns what the processes of one training took: memory of the largest, energy of all."""
    energies = [cost["energy_joules"] for cost in costs]
    return costs[0] | {
        "device": _named([cost["device"] for cost in costs]),
        "peak_memory_mb": max(cost["peak_memory_mb"] for cost in costs),
        "energy_joules": None if None in energies else sum(energies),
    }


def _named(devices: list[str]) -> str:
    """Returns the names of devices as one text, each once, in the order of their first use."""
    return ", ".join(dict.fromkeys(name for text in devices for name in text.split(", ")))

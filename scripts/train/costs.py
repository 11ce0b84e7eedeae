"""What a training costs: time, memory and energy, and the time and tokens of its steps."""

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from scripts.common.files import Row
from scripts.lm.devices import Meter
from scripts.train.layouts import BATCHES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

WARM_UP = 2
"""Steps that are not timed: kernels are chosen and memory is claimed in them."""


class Costs(TrainerCallback):
    """Measures time, memory and energy, over all the attempts that a result is made of.

    What was lost between a checkpoint and a kill is done again, and counted once.
    """

    def __init__(self) -> None:
        self.meter = Meter()
        self.before: Row | None = None
        """Of the attempts up to the checkpoint."""

    def state_dict(self) -> Row:
        """Return device, seconds, peak_memory_mb, and energy_joules where all devices count it."""
        now = self.meter.cost()
        if self.before is None:
            return now
        seconds = round(self.before["seconds"] + now["seconds"], 3)
        return sum_costs([self.before, now]) | {"seconds": seconds}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what the attempts before the checkpoint cost."""
        self.before = state_dict


def sum_costs(costs: list[Row]) -> Row:
    """Return the costs of processes that ran at once: the largest memory, the sum of energy.

    Every device is named once, in the order of its first use.
    """
    energies = [cost["energy_joules"] for cost in costs]
    devices = ", ".join(cost["device"] for cost in costs).split(", ")
    return costs[0] | {
        "device": ", ".join(dict.fromkeys(devices)),
        "peak_memory_mb": max(cost["peak_memory_mb"] for cost in costs),
        "energy_joules": None if None in energies else sum(energies),
    }


class Stopwatch(TrainerCallback):
    """Measures the time and the tokens of every step of a trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """Of each step, those before a checkpoint too."""
        self._last = 0.0
        self.batches: list[list[tuple[int, torch.Tensor | int]]] = []
        self._step: list[tuple[int, torch.Tensor | int]] = []

    def watch(self, trainer: "Trainer") -> None:
        """Watch a trainer from its next step on."""
        trainer.add_callback(self)
        inner = trainer.training_step

        def counted(
            model: "PreTrainedModel", inputs: dict[str, Any], *args: Any, **more: Any
        ) -> Any:
            for batch in inputs.get(BATCHES, [inputs]):
                ids, attention = batch["input_ids"], batch.get("attention_mask")
                # Summed on the device and read later, because reading waits for the GPU.
                real = ids.numel() if attention is None else attention.sum()
                self._step.append((ids.numel(), real))
            return inner(model, inputs, *args, **more)

        trainer.training_step = counted

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._last = _now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Record the time, once the device is done with the step."""
        now = _now()
        self.seconds.append(now - self._last)
        self._last = now
        self.batches.append(self._step)
        self._step = []

    def state_dict(self) -> Row:
        """Return the seconds of the steps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load them."""
        self.seconds = list(state_dict["seconds"])

    def step_seconds(self) -> float | None:
        """Return the median seconds of a step after the warm-up, or None if there is none."""
        timed = self.seconds[WARM_UP:]
        return median(timed) if timed else None

    def steps(self) -> list[tuple[float, int, int]]:
        """Return each step's seconds, and the real and padded tokens of its stock batches.

        Only for a training that was not resumed: tokens are not saved in a checkpoint.
        """
        return [
            (took, sum(int(real) for _, real in step), sum(padded for padded, _ in step))
            for took, step in zip(self.seconds, self.batches, strict=True)
        ]


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()

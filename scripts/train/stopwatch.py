"""The time and the tokens of a trainer's steps."""

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from scripts.train.layouts import BATCHES
from scripts.train.pace import WARM_UP

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer


class Stopwatch(TrainerCallback):
    """Takes the time and the tokens of every step of a trainer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """Of each step, those before a checkpoint too."""
        self._last = 0.0
        self.batches: list[list[tuple[int, torch.Tensor | int]]] = []
        self._step: list[tuple[int, torch.Tensor | int]] = []

    def watch(self, trainer: "Trainer") -> None:
        """Watches a trainer from its next step on."""
        trainer.add_callback(self)
        inner = trainer.training_step

        def counted(
            model: "PreTrainedModel", inputs: dict[str, Any], *args: Any, **more: Any
        ) -> Any:
            for batch in inputs.get(BATCHES, [inputs]):
                ids, attention = batch["input_ids"], batch.get("attention_mask")
                # Summed up on the device and read later, because reading waits for the GPU.
                real = ids.numel() if attention is None else attention.sum()
                self._step.append((ids.numel(), real))
            return inner(model, inputs, *args, **more)

        trainer.training_step = counted

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._last = _now()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Takes the time, once the device is done with the step."""
        now = _now()
        self.seconds.append(now - self._last)
        self._last = now
        self.batches.append(self._step)
        self._step = []

    def kept(self) -> list[float]:
        """Returns the seconds of the steps, for a checkpoint."""
        return self.seconds

    def restore(self, kept: list[float]) -> None:
        """Takes them back."""
        self.seconds = list(kept)

    def step_seconds(self) -> float | None:
        """Returns the median seconds of a step behind the warm-up, or None where there is none."""
        timed = self.seconds[WARM_UP:]
        return median(timed) if timed else None

    def steps(self) -> list[tuple[float, int, int]]:
        """Returns each step's seconds, and the real and padded tokens of its stock batches.

        Of a training that never stopped: tokens are not kept in a checkpoint.
        """
        return [
            (took, sum(int(real) for _, real in step), sum(padded for padded, _ in step))
            for took, step in zip(self.seconds, self.batches, strict=True)
        ]


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()

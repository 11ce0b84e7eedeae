"""Measure training in one process: CPU time, memory, tokens, and the least work it needs.

CPU time is user plus system time of the process, with one thread; unlike wall time it means
something on a shared machine. GPU work only shows in wall time, so both are measured.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from benchmarks.needed import NOTHING, tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

Part = dict[str, Any]
Taken = tuple[list[list[list[int]]], int]
"""Of a batch: groups of token sequences, and at how many positions the loss uses logits."""

MATRIX, REPEATS = 2048, 5
IGNORED = -100


class Meter(TrainerCallback):
    """Measure the training of a base model, from its creation on."""

    def __init__(self, base: "PreTrainedModel") -> None:
        # Read the weights once: memory-mapped ones only become resident then.
        sum(float(weight.detach().float().sum()) for weight in base.parameters())
        self.loaded_mb = resident_mb()
        self.passed: dict[str, int] = {"reference": 0, "policy": 0}
        self.clock: list[Part] = []
        self.reference_seconds: Part | None = None
        self.reference_tokens = 0
        self.before: Part = {}
        self.needed: list[Part] = []
        self._step: list[Taken] = []
        _blocks(base)[0].register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: Any, args: tuple[Any, ...], kwargs: Part) -> None:
        """Count the positions that pass through the first block, padding included."""
        hidden = args[0] if args else kwargs["hidden_states"]
        kind = "policy" if torch.is_grad_enabled() else "reference"
        self.passed[kind] += hidden.shape[0] * hidden.shape[1]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Measure the reference pass over all rows before training."""
        before, tokens = now(), sum(self.passed.values())
        yield
        self.reference_seconds = since(before)
        self.reference_tokens = sum(self.passed.values()) - tokens

    def watch(self, trainer: "Trainer", sequences: Callable[[Part], Any] | None = None) -> None:
        """Watch a trainer's steps; if given, `sequences` splits each batch into its sequences."""
        trainer.add_callback(self)
        if sequences is None:
            return
        inner = trainer.training_step

        def noted(model: Any, inputs: Part, *args: Any, **more: Any) -> Any:
            self._step.append(sequences(inputs))
            return inner(model, inputs, *args, **more)

        trainer.training_step = noted

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Store the number of tokens processed before training."""
        self.before = dict(self.passed)

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Take the time, and the work that the step needed."""
        self.clock.append(now())
        if self._step:
            self.needed.append(needed_by(self._step))
            self._step = []

    def metrics(self) -> Part:
        """Return the measurements. The first step is a warm-up, so its time is left out."""
        steps = len(self.clock) - 1
        first, last = self.clock[0], self.clock[-1]
        passed = {kind: self.passed[kind] - self.before[kind] for kind in self.passed}
        return {
            "steps": len(self.clock),
            "step_seconds": {key: (last[key] - first[key]) / steps for key in first},
            "reference_seconds": self.reference_seconds,
            "reference_tokens": self.reference_tokens,
            "policy_tokens": passed["policy"],
            "reference_tokens_in_steps": passed["reference"],
            "needed": self.needed or None,
            **self.memory(),
        }

    def memory(self) -> Part:
        """Return peak resident memory, growth since the model was loaded, and peak GPU memory."""
        peak = peak_mb()
        gpu = torch.cuda.is_available()
        return {
            "peak_mb": peak,
            "growth_mb": peak - self.loaded_mb,
            "gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20 if gpu else None,
        }


def _blocks(model: "PreTrainedModel") -> torch.nn.ModuleList:
    """Return the decoder layers of a model, which may be wrapped."""
    return next(
        module for name, module in model.named_modules() if name.rpartition(".")[2] == "layers"
    )


def needed_by(batches: list[Taken]) -> Part:
    """Return the least work for an optimizer step, given the sequences of its batches.

    Parameters
    ----------
    batches
        For each batch: its sequences grouped by row, and the number of positions at which the loss
        uses logits.
    """
    groups = [group for sequences, _ in batches for group in sequences]
    # Nothing is predicted after the last token.
    seen = [[sequence[:-1] for sequence in group] for group in groups]
    alone = sum(map(tree, seen), NOTHING)
    whole = tree(sequence for group in seen for sequence in group)
    return {
        "rows": len(groups),
        "tokens": sum(len(sequence) for group in groups for sequence in group),
        "tree": [whole.tokens, whole.reach],
        "tree_of_pairs": [alone.tokens, alone.reach],
        "predicted": sum(predicted for _, predicted in batches),
    }


def paired(inputs: Part) -> Taken:
    """Take a batch of TRL's DPOTrainer apart: chosen rows first, then rejected ones."""
    rows = unpadded(inputs)
    half = len(rows) // 2
    groups = [list(pair) for pair in zip(rows[:half], rows[half:], strict=True)]
    return groups, int(inputs["completion_mask"].sum())


def single(inputs: Part) -> Taken:
    """Take a batch of TRL's SFTTrainer apart."""
    predicted = int((inputs["labels"][:, 1:] != IGNORED).sum())
    return [[row] for row in unpadded(inputs)], predicted


def packed(inputs: Part) -> Taken:
    """Take a flattened batch of TRL's SFTTrainer apart, wherever positions restart at 0."""
    ids, positions = inputs["input_ids"].flatten(), inputs["position_ids"].flatten()
    starts = (positions == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], len(ids)]
    rows = [[ids[start:end].tolist()] for start, end in zip(starts, ends, strict=True)]
    return rows, int((inputs["labels"] != IGNORED).sum())


def unpadded(inputs: Part) -> list[list[int]]:
    """Return a batch's sequences without their padding."""
    pairs = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in pairs]


def now() -> Part:
    """Return CPU time and wall time of the process, after waiting for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"cpu": time.process_time(), "wall": time.perf_counter()}


def since(before: Part) -> Part:
    """Return the CPU and wall seconds since `before`."""
    after = now()
    return {key: after[key] - before[key] for key in before}


def resident_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """Return the peak resident memory of this process."""
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def matmul_flops() -> float | None:
    """Return the FLOPs per CPU second of a large float32 matrix product, the best of a few runs.

    None on a GPU, where training does not run in float32.
    """
    if torch.cuda.is_available():
        return None
    one, other = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    seconds = []
    for _ in range(REPEATS):
        before = time.process_time()
        one @ other
        seconds.append(time.process_time() - before)
    return 2 * MATRIX**3 / min(seconds)

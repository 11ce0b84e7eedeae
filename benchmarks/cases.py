"""The benchmark cases."""

from dataclasses import dataclass

DPO = ("TRL", "prefmake")
SFT = ("TRL, padded to 512", "TRL, dynamic padding", "prefmake")
SCORING = ("TRL's reference pass", "prefmake's reference pass")
SWEEP = ("TRL's command line", "prefmake")
STEPS = 4
"""Optimizer steps of a run, of which the first is a warm-up."""


@dataclass(frozen=True)
class Case:
    """One comparison: contestants that train on, or score, the same rows with the same model."""

    letter: str
    name: str
    task: str
    """preferences or demonstrations (the rows to train on), score, or sweep."""
    contestants: tuple[str, ...]
    shape: str = "llama"
    corpus: str = "titles"
    batch: int = 4
    accumulation: int = 4
    steps: int = STEPS
    rank: int = 32
    completion_only: bool = True
    ideas: int = 20
    """For scoring: the number of ideas whose pairs are scored."""
    precision: str = "float32"
    quantization: str = "none"
    once: bool = False
    """Measure each contestant only once: tokens are only counted, or it is five runs already."""

    @property
    def gpu(self) -> bool:
        """Return True if the case runs on a GPU; CPU cases are in float32."""
        return self.precision != "float32"

    @property
    def rows(self) -> int:
        """Return the number of rows in a run; each is seen once."""
        return self.steps * self.batch * self.accumulation


def _dpo(letter: str, shape: str, corpus: str, batch: int, accumulation: int, *others: str) -> Case:
    name = f"{corpus}, {shape}, {batch} x {accumulation}"
    return Case(letter, name, "preferences", (*others, *DPO), shape, corpus, batch, accumulation)


def _sft(batch: int, accumulation: int, completion_only: bool, *others: str) -> Case:
    loss = "completions" if completion_only else "whole sequences"
    name = f"problems, llama, {batch} x {accumulation}, loss on {loss}"
    return Case("c", name, "demonstrations", (*others, *SFT), "llama", "problems", batch,
                accumulation, completion_only=completion_only)  # fmt: skip


CASES = [
    _dpo("a", "qwen2", "titles", 4, 4, "TRL, precomputed"),
    _dpo("a", "llama", "titles", 4, 4),
    _dpo("a", "llama", "titles", 1, 16),
    _dpo("b", "qwen2", "dialogues", 1, 8),
    _dpo("b", "llama", "dialogues", 1, 8),
    _sft(8, 1, True, "TRL, padding-free", "TRL, packed"),
    _sft(2, 4, False),
    # Long enough that start-up does not dominate, as it would not in a real sweep.
    Case("d", "titles, llama, 4 x 4, five trials", "sweep", SWEEP, steps=40, once=True),
    Case("e", "titles, qwen2, 20 ideas", "score", SCORING, "qwen2"),
    Case("e", "titles, all ideas, tokens counted", "score", SCORING, "tiny-qwen2", ideas=1000,
         once=True),
]  # fmt: skip

GPU_CASES = [
    Case("a", "titles, qwen-14b, 4 x 4", "preferences", ("TRL", "Unsloth", "prefmake"), "qwen-14b",
         precision="bfloat16", quantization="nf4"),
    Case("b", "dialogues, tinyllama, 1 x 8", "preferences", ("TRL", "Unsloth", "prefmake"),
         "tinyllama", "dialogues", 1, 8, precision="bfloat16"),
    Case("c", "problems, tinyllama, 8 x 1", "demonstrations",
         ("TRL, padded to 512", "TRL, dynamic padding", "Unsloth, dynamic padding", "prefmake"),
         "tinyllama", "problems", 8, 1, precision="bfloat16"),
]  # fmt: skip

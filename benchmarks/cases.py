"""The benchmark cases."""

from dataclasses import dataclass
from typing import Any

OWN = "prefmake"
TRL, NEWER = "TRL 1.14.2", "TRL 1.16.0"
"""The launcher's TRL, and one that is installed beside it; see Makefile."""
REAL = "SmolLM2-135M-Instruct"
"""The pilot's base model. The other models are shapes with random weights."""
DPO = (TRL, OWN)
SFT = (f"{TRL}, padded to 512", f"{TRL}, dynamic padding", OWN)
SCORING = (f"{TRL}, reference pass", f"{OWN}, reference pass")
VERSIONS = (NEWER, f"{NEWER}, precomputed", TRL, f"{TRL}, precomputed", OWN)
CACHED = f"{TRL}, cached references"
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
    """Of the adapter on all projections; the real model has that of the published trial."""
    completion_only: bool = True
    ideas: int = 20
    """For scoring: the number of ideas whose pairs are scored."""
    precision: str = "float32"
    quantization: str = "none"
    gpu: bool = False
    once: bool = False
    """Measure each contestant only once: it is five trials already."""
    epochs: int = 1
    """Of the published trial, all of which share one reference pass."""
    bounds: tuple[tuple[str, float], ...] = ()
    """How many times the seconds of a contestant have to be those of prefmake."""

    @property
    def real(self) -> bool:
        """Return True if the case has the real model, and with it real rows."""
        return self.shape == REAL

    @property
    def rows(self) -> int:
        """Return the number of rows in a run; each is seen once."""
        return self.steps * self.batch * self.accumulation


def _real(letter: str, name: str, task: str, contestants: tuple[str, ...], corpus: str,
          batch: int, accumulation: int, **more: Any) -> Case:  # fmt: skip
    name = f"{name}, {REAL}, {batch} x {accumulation}"
    settings: dict[str, Any] = {"steps": 2, "precision": "bfloat16"} | more
    return Case(letter, name, task, contestants, REAL, corpus, batch, accumulation, **settings)


CASES = [
    _real("a", "titles", "preferences", VERSIONS, "titles", 4, 4, epochs=3,
          bounds=((TRL, 5), (NEWER, 5))),
    _real("b", "hh-rlhf", "preferences", VERSIONS, "hh-rlhf", 1, 8, epochs=2,
          bounds=((TRL, 2.5), (NEWER, 2.5))),
    _real("c", "GSM8K", "demonstrations", (f"{NEWER}, dynamic padding", *SFT), "gsm8k", 2, 4,
          bounds=((SFT[0], 3),)),
    _real("d", "five trials on titles", "sweep", (TRL, CACHED, OWN), "titles", 4, 4,
          once=True, bounds=((TRL, 5), (CACHED, 3))),
    Case("e", "titles, qwen2, 4 x 4", "preferences", (f"{TRL}, precomputed", *DPO), "qwen2"),
    Case("f", "dialogues, llama, 1 x 8", "preferences", DPO, "llama", "dialogues", 1, 8),
    Case("g", "problems, llama, 8 x 1", "demonstrations",
         (f"{TRL}, padding-free", f"{TRL}, packed", *SFT), "llama", "problems", 8, 1),
    Case("h", "titles, qwen2, 20 ideas", "score", SCORING, "qwen2"),
]  # fmt: skip

GPU_CASES = [
    Case("a", "titles, qwen-14b, 4 x 4", "preferences", (TRL, "Unsloth", OWN), "qwen-14b",
         precision="bfloat16", quantization="nf4", gpu=True),
    Case("b", "dialogues, tinyllama, 1 x 8", "preferences", (TRL, "Unsloth", OWN), "tinyllama",
         "dialogues", 1, 8, precision="bfloat16", gpu=True),
    Case("c", "problems, tinyllama, 8 x 1", "demonstrations",
         (*SFT[:2], "Unsloth, dynamic padding", OWN), "tinyllama", "problems", 8, 1,
         precision="bfloat16", gpu=True),
]  # fmt: skip

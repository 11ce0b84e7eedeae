"""What a judge is asked, and what a judge is.

A judge is one function (`Judge`) in one module. To add one: write it, enter it in JUDGES of
scripts/evaluate/judge.py, and allow its name as `judge.kind` in scripts/config/schema.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.common.files import Row


@dataclass(frozen=True)
class Question:
    """Which of two answers to a prompt is better?"""

    prompt: str
    a: str
    b: str


class Judge(Protocol):
    """Answers questions. It sees each pair twice, A and B changed, and is not told which is whose.

    It gets the manifest.json of its model, its settings (kind, model, template, precision and
    quantization, as in the configuration) and all questions at once. It returns one number a
    question: above 0 where A is better, below 0 where B is. The same questions must get the same
    numbers again.
    """

    def __call__(self, manifest: Path, settings: Row, questions: list[Question]) -> list[float]: ...

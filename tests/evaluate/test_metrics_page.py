"""docs/metrics.md names every figure that is measured, with its unit."""

from pathlib import Path

from scripts.common.files import Row
from scripts.evaluate.lookup import lookup_figures
from scripts.evaluate.measure import answers_to, completion_figures, pair_figures

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def units_of_the_page() -> dict[str, str]:
    cells = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    return {row[0].split("`")[1]: row[2] for row in cells if row[0].startswith("| `")}


def test_the_page_names_every_figure_with_its_unit() -> None:
    said = [{"role": "assistant", "content": "#### 4"}]
    asked = {"id": "a", "group": "g", "prompt": said}
    other = asked | {"id": "b", "completion": said}
    settings = {"scored": True, "answer_after": None, "answer_before": None, "rules": "titles"}
    answers = [{"set": "s", "id": name, "text": "#### 4", "stop": "eos", "tokens": 3, "logp": -1.0,
                "reference_logp": -2.0, "verdict": 1.0, "margin_as_a": 1.0, "margin_as_b": 1.0}
               for name in "ab"]  # fmt: skip
    pair: Row = asked | {f"{side}_tokens": 2 for side in ("chosen", "rejected")}
    pair |= {f"{whose}{side}_logp": -1.0 for side in ("chosen", "rejected")
             for whose in ("", "reference_")}  # fmt: skip
    groups = {"a": "g", "b": "g"}
    judged = asked | {"chosen": said, "rejected": said}
    figures = [
        *completion_figures([{"id": "a", "logp": -1.0, "tokens": 2}], groups),
        *pair_figures([pair | {"margin": 0.0}], groups, tuned=True),
        *lookup_figures([judged], [judged]),
        *answers_to("s", settings, answers, [asked | {"completion": said}, other], set()).figures,
    ]
    page = units_of_the_page()
    assert len(figures) > 30
    assert {figure.name: page.get(figure.name) for figure in figures} == {
        figure.name: figure.unit for figure in figures
    }

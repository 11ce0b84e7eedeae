"""Notes that tables share."""

from pathlib import Path

from scripts.common.files import read_json
from scripts.report.notes import sign_notes
from scripts.report.results import Results as Opened
from scripts.report.tables import dpo, sft
from tests.report.conftest import Results, written


def test_a_table_notes_which_of_its_trials_went_wrong(results: Results, tmp_path: Path) -> None:
    fall = {"sign": "chosen_free_fall", "note": False, "text": "they fell", "step": 40}
    little = {"sign": "adapter_hardly_moved", "note": True, "text": "it stood", "step": 150}
    cut_off = {"sign": "answers_do_not_end", "note": False, "text": "they do not", "set": "p"}
    # A sign of training and of evaluation is named once, and how many seeds have it.
    measured = [[fall | {"step": None}], [cut_off, cut_off | {"set": "q"}], []]
    for seed, signs in enumerate(measured):
        results.trial("titles-3", "dpo", {}, experiment="titles", title="Titles", seed=seed,
                      outcome={"signs": [fall, little][seed % 2 :]}, signs=signs)  # fmt: skip
    results.trial("titles-4", "dpo", {}, experiment="titles", title="Titles", signs=[cut_off])
    made = tmp_path / "table.json"
    written(dpo, results, tmp_path, "--json", str(made))
    assert read_json(made)["notes"][:2] == [
        "Signs that a trial went wrong (docs/signs.md): "
        "titles-3: chosen_free_fall (2 of 3 seeds), answers_do_not_end on p (1 of 3 seeds), "
        "answers_do_not_end on q (1 of 3 seeds); titles-4: answers_do_not_end on p.",
        "To be known of trials (docs/signs.md): titles-3: adapter_hardly_moved.",
    ]


def test_a_sign_of_all_seeds_together_is_of_each(results: Results) -> None:
    fall = {"sign": "chosen_free_fall", "note": False, "text": "they fell"}
    results.trial("titles-3", "dpo", {}, experiment="titles", title="Titles", seed=1,
                  outcome={"signs": [fall | {"step": 40}]}, signs=[fall])  # fmt: skip
    expected = "Signs that a trial went wrong (docs/signs.md): titles-3: chosen_free_fall."
    opened = Opened(results.root, results.plan)
    assert sign_notes(opened) == sign_notes(opened.each_seed) == [expected]


def test_a_table_whose_trials_are_sound_notes_nothing(results: Results, tmp_path: Path) -> None:
    assert "docs/signs.md" not in written(sft, results, tmp_path)["md"]

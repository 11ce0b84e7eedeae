"""Signs of evaluation that a trial went wrong, and the characters that one of them counts."""

import math
from typing import Any

import pytest

from scripts.common.signs import said
from scripts.common.wilson import wilson
from scripts.evaluate.characters import odd_characters, usual
from scripts.evaluate.intervals import BOOTSTRAP
from scripts.evaluate.signs import SIGNS, signs_of
from scripts.train import signs as of_training

Row = dict[str, Any]


def measured(sets: dict[str, Row] | None = None, **metrics: float) -> Row:
    """Return metrics and sets as metrics.json has them; a stop rate is of 50 answers."""

    def metric(name: str, value: float) -> Row:
        intervals = {"wilson": wilson(50 * value, 50)} if name == "stop_rate" else {}
        return {"value": value, "n": 50, "intervals": intervals}

    return {
        "experiment": "e",
        "metrics": {name: metric(name, value) for name, value in metrics.items()},
        "sets": {
            name: {"metrics": {key: metric(key, value) for key, value in of.items()}}
            for name, of in (sets or {}).items()
        },
    }


def found(own: Row, base: Row, tokens: float | None = None, start: Row | None = None) -> list[str]:
    signs = signs_of(own, base, start or base, tokens)
    return [said(sign).removeprefix("warning: ") for sign in signs]


def test_the_trial_that_fell_apart_has_the_signs_that_it_should() -> None:
    """Titles at a learning rate of 2e-4: what its tables held, and no line said."""
    base = measured({"greedy": {"stop_rate": 0.65, "distinct_2": 0.6, "odd_characters": 0.01}})
    own = {"stop_rate": 0.04, "distinct_2": 0.2, "odd_characters": 0.8}
    trial = measured({"greedy": own}, preference_loss=0.714, chosen_change=-16.8)
    assert found(trial, base, tokens=14.0) == [
        "preference_loss_rose: preference loss of the test pairs is 0.714, above ln 2 = 0.6931",
        "chosen_free_fall: chosen completions of the test pairs are 16.8 nats less likely than "
        "under the reference, 1.20 a token",
        "answers_do_not_end: the share of answers that end is 0.04, the base's 0.65 "
        "(prompts greedy)",
        "answers_repeat: distinct-2 is 0.20, the base's 0.60 (prompts greedy)",
        "odd_characters: 80% of all characters are odd, of the base's 1% (prompts greedy)",
    ]


def test_margins_that_no_beta_scales_have_a_loss_of_no_meaning() -> None:
    trial = measured({}, preference_loss=1.7)
    assert len(found(trial, measured({}))) == 1
    assert found(trial | {"has_reference": False}, measured({})) == []


def test_a_sound_trial_has_none() -> None:
    base = measured({"p": {"stop_rate": 0.85, "distinct_2": 0.6, "odd_characters": 0.1}},
                    held_out_loss=0.58)  # fmt: skip
    sets = {"p": {"stop_rate": 0.5, "distinct_2": 0.35, "odd_characters": 0.14}, "q": {}}
    trial = measured(sets, held_out_loss=0.582, preference_loss=0.7, chosen_change=-6.9)
    assert found(trial, base, tokens=14.0) == []
    # A set that the base did not answer, and pairs without tokens, are not judged.
    assert found(measured({"r": {"stop_rate": 0.0}}, chosen_change=-99.0), base) == []


@pytest.mark.parametrize(
    ("metric", "value", "sign"),
    [
        ("held_out_loss", 0.59, "held_out_loss_rose"),
        ("preference_loss", 1.016 * math.log(2), "preference_loss_rose"),
        ("preference_loss", 1.014 * math.log(2), None),
        ("held_out_loss", 0.588, None),
    ],
)
def test_losses_above_their_start(metric: str, value: float, sign: str | None) -> None:
    (*names,) = (it.split(":")[0] for it in found(measured(**{metric: value}),
                                                   measured(held_out_loss=0.58)))  # fmt: skip
    assert names == ([sign] if sign else [])


def test_a_held_out_loss_is_held_to_the_start() -> None:
    base, start = measured(held_out_loss=1.42), measured(held_out_loss=0.865)
    own = measured(held_out_loss=1.2)
    assert found(own, base, start=start) == [
        "held_out_loss_rose: held-out loss is 1.2, at its start 0.865"
    ]
    # The start of another experiment may be measured on other rows.
    assert found(own, base, start=start | {"experiment": "other"}) == []
    # What these rows cannot tell from the start is no sign: 0.865 and 1.5 % are 0.878.
    for low, names in ((0.877, []), (0.879, ["held_out_loss_rose"])):
        own = measured(held_out_loss=0.9)
        own["metrics"]["held_out_loss"]["intervals"] = {BOOTSTRAP: [low, 0.95]}
        assert [it.split(":")[0] for it in found(own, base, start=start)] == names


def test_few_answers_show_nothing() -> None:
    """None of nine end, nor of ten: but only ten are enough."""
    base = measured({"p": {"stop_rate": 0.9}})
    for n, wanted in ((9, 0), (10, 1)):
        own = measured({"p": {"stop_rate": 0.0}})
        own["sets"]["p"]["metrics"]["stop_rate"] |= {"n": n, "intervals": {"wilson": wilson(0, n)}}
        assert len(found(own, base)) == wanted
    # Three of ten could be half of them.
    own["sets"]["p"]["metrics"]["stop_rate"] |= {
        "value": 0.3,
        "intervals": {"wilson": wilson(3, 10)},
    }
    assert found(own, base) == []


def test_a_fall_is_judged_alike_in_training_and_on_test_pairs() -> None:
    name = "chosen_free_fall"
    assert SIGNS[name].limits == of_training.SIGNS[name].limits
    for sign in SIGNS.values():
        assert "{" not in sign.holds.format(**sign.limits)


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("An étude in C♯ – “so to say”, 5 € × 2 ≥ 10.\n\tx²", 0),
        ("C\u266f", 0),
        ("🎉🎉 done", 2),
        ("👩🏽\u200d🔬\ufe0f", 5),
        ("```python\nx```", 6),
        ("`x` ~~y~~", 0),
        ("\ufffd\x00\x1b[0m", 3),
        ("Привет", 6),
        ("e\u0301", 0),
    ],
)
def test_characters_that_are_odd(text: str, odd: int) -> None:
    assert usual(["Plain words, in C♯."]).odd(text) == odd


def test_what_the_set_itself_uses_is_not_odd() -> None:
    of_set = usual(["Да? 🎉", "```\nx\n```"])
    assert of_set.odd("Привет 🎉 ```x``` 🎈") == 1
    rows = [{"id": "a", "text": "🎈🎈ab"}, {"id": "b", "text": "abcd"}, {"id": "c", "text": ""}]
    (metric,) = odd_characters(rows, dict.fromkeys("abc", "g"), of_set)
    assert metric.summary()["value"] == 2 / 8
    assert [item["id"] for item in metric.items] == ["a", "b"]
    assert odd_characters(rows[2:], {"c": "g"}, of_set) == []

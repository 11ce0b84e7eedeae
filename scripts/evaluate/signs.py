"""The signs of evaluation that a trial went wrong, with all their thresholds.

They are judged by what is measured, beside the base of the experiment and the model that a trial
starts from. Nothing that trains or scores imports this, so an edited threshold only measures again.
The thresholds were set before any of them was tried on test rows. That the whole interval of a
held-out loss has to lie above its limit was added later: the toy demo's `dpo-r16` was 1.8 % above
its start, which is within what its rows can show.
"""

from collections.abc import Iterator
from math import log

from scripts.common.files import Row
from scripts.common.signs import Sign
from scripts.evaluate.intervals import BOOTSTRAP, JACKKNIFE

_DECLARED = (
    Sign(
        name="held_out_loss_rose",
        holds="the held-out loss is more than {share:.1%} above that of the model that it starts "
        "from, whole interval by group included",
        why="The model predicts completions that it has not seen worse than before its training. "
        "Rounding alone moves a loss by less, and a preference trial, which learns from other "
        "rows, may lose a little: the interval lets pass what these rows cannot show.",
        limits={"share": 0.015},
    ),
    Sign(
        name="preference_loss_rose",
        holds="the preference loss of the test pairs is more than {share:.1%} above ln 2, with a "
        "method that has a reference",
        why="A model that does not differ from its reference has ln 2: this one orders unseen "
        "pairs worse than not at all, or is sure of what is wrong. Rounding alone moves a loss by "
        "less.",
        limits={"share": 0.015},
    ),
    Sign(
        name="chosen_free_fall",
        holds="chosen completions of the test pairs are less likely than under the reference, by "
        "more than {nats:g} nats a completion and {nats_per_token:g} nats a token",
        why="The same as in training, on rows that it has not seen.",
        limits={"nats": 5.0, "nats_per_token": 0.5},
    ),
    Sign(
        name="answers_do_not_end",
        holds="of {answers:g} answers or more, less than {share:g} times as many end by themselves "
        "as of the base's, whole Wilson interval included",
        why="A model that has lost its end token writes until it is cut off. One trained on rows "
        "without an end token does so too, and is meant to.",
        limits={"share": 0.5, "answers": 10},
    ),
    Sign(
        name="answers_repeat",
        holds="of {answers:g} answers or more, distinct-2 is less than {share:g} times the base's, "
        "whole interval included",
        why="The answers repeat themselves or each other. Learning one style lowers distinct-2 a "
        "little; half of it is a loop, or one answer to everything.",
        limits={"share": 0.5, "answers": 10},
    ),
    Sign(
        name="odd_characters",
        holds="the share of odd characters is more than {above:g} above the base's",
        why="Emoji, symbols, marks of code blocks and scripts that neither prompts nor known "
        "answers use: text that no row has taught. One in twenty is seen in every answer.",
        limits={"above": 0.05},
    ),
)

SIGNS = {sign.name: sign for sign in _DECLARED}


def signs_of(measured: Row, base: Row, start: Row, chosen_tokens: float | None) -> list[Row]:
    """Return the signs that hold of a trial.

    Parameters
    ----------
    measured, base, start
        What metrics.json has of the trial, of its base, and of what it starts from: the base, too,
        or another trial. One of another experiment may be measured on other rows, and then the
        trial is held to its base.
    chosen_tokens
        Mean tokens of a chosen completion of the test pairs, if there are any.
    """
    before = start if start["experiment"] == measured["experiment"] else base
    of_rows = measured["metrics"]
    if not measured.get("has_reference", True):
        # No beta scales its margins, so a loss of them is above ln 2 for no reason.
        of_rows = {name: it for name, it in of_rows.items() if name != "preference_loss"}
    found = list(_of_rows(of_rows, before["metrics"], chosen_tokens))
    for name, answers in measured["sets"].items():
        own, others = answers["metrics"], base["sets"].get(name, {}).get("metrics", {})
        found += [sign | {"set": name} for sign in _of_answers(own, others)]
    return found


def _of_rows(own: Row, start: Row, chosen_tokens: float | None) -> Iterator[Row]:
    """Yield the signs of held-out completions and pairs."""
    loss, before = _value(own, "held_out_loss"), _value(start, "held_out_loss")
    if loss is not None and before is not None:
        sign = SIGNS["held_out_loss_rose"]
        lowest, _ = own["held_out_loss"]["intervals"].get(BOOTSTRAP) or (loss, loss)
        if lowest > before * (1 + sign.limits["share"]):
            yield sign.found(f"held-out loss is {loss:.4g}, at its start {before:.4g}")
    loss = _value(own, "preference_loss")
    sign = SIGNS["preference_loss_rose"]
    if loss is not None and loss > log(2) * (1 + sign.limits["share"]):
        yield sign.found(f"preference loss of the test pairs is {loss:.4g}, above ln 2 = 0.6931")
    change = _value(own, "chosen_change")
    if change is not None and chosen_tokens:
        sign, each = SIGNS["chosen_free_fall"], change / chosen_tokens
        if change < -sign.limits["nats"] and each < -sign.limits["nats_per_token"]:
            yield sign.found(
                f"chosen completions of the test pairs are {-change:.1f} nats less likely than "
                f"under the reference, {-each:.2f} a token"
            )


def _of_answers(own: Row, base: Row) -> Iterator[Row]:
    """Yield the signs of the answers to a set of prompts."""
    for name, metric, kind, label in (
        ("answers_do_not_end", "stop_rate", "wilson", "the share of answers that end"),
        ("answers_repeat", "distinct_2", JACKKNIFE, "distinct-2"),
    ):
        value, before = _value(own, metric), _value(base, metric)
        sign = SIGNS[name]
        if value is None or before is None or own[metric]["n"] < sign.limits["answers"]:
            continue
        _, highest = own[metric]["intervals"].get(kind) or (value, value)
        if highest < before * sign.limits["share"]:
            yield sign.found(f"{label} is {value:.2f}, the base's {before:.2f}")
    odd, before = _value(own, "odd_characters"), _value(base, "odd_characters")
    sign = SIGNS["odd_characters"]
    if odd is not None and before is not None and odd > before + sign.limits["above"]:
        yield sign.found(f"{odd:.0%} of all characters are odd, of the base's {before:.0%}")


def _value(metrics: Row, name: str) -> float | None:
    return metrics[name]["value"] if name in metrics else None

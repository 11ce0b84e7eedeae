"""Log-probabilities of preference pairs, and of unpaired rows."""

from typing import TYPE_CHECKING

from scripts.common.files import Row
from scripts.lm.logprobs import completion_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def reference_logps(model: "PreTrainedModel", rows: list[Row]) -> list[Row]:
    """Return the log-probs of token rows, in nats: of pairs as `pair_logps` does; of unpaired rows
    `logp`, that of the completion.
    """
    if not rows or "chosen_ids" in rows[0]:
        return pair_logps(model, rows)
    logps = completion_logps(model, [(row["prompt_ids"], row["completion_ids"]) for row in rows])
    return [{"id": row["id"], "logp": sum(it)} for row, it in zip(rows, logps, strict=True)]


def pair_logps(model: "PreTrainedModel", rows: list[Row]) -> list[Row]:
    """Return the log-probs of each token row, in nats.

    `chosen_logp` and `rejected_logp` are those of whole completions. `chosen_head_logp` and
    `rejected_head_logp` are those of their first tokens, as many as the shorter completion has,
    which LD-DPO weights differently (Liu et al. 2024, https://arxiv.org/abs/2409.06411, equation
    8).
    """
    sequences = [(row["prompt_ids"], row[f"{name}_ids"]) for row in rows for name in NAMES]
    logps = iter(completion_logps(model, sequences))
    return [_pair(row, next(logps), next(logps)) for row in rows]


def partner_logps(model: "PreTrainedModel", rows: list[Row], reference: list[Row]) -> list[Row]:
    """Return the log-probs of single rows, in nats: `logp` of the completion, as the `reference` of
    their pairs or of them has it, and `partner_logp` of another row's completion after this prompt.
    """
    known = {row["id"]: row["logp"] for row in reference if "logp" in row} | {
        f"{pair['id']}/{name}": pair[f"{name}_logp"]
        for pair in reference for name in NAMES if "logp" not in pair
    }  # fmt: skip
    partners = completion_logps(model, [(row["prompt_ids"], row["partner_ids"]) for row in rows])
    return [
        {"id": row["id"], "logp": known[row["id"]], "partner_logp": sum(logps)}
        for row, logps in zip(rows, partners, strict=True)
    ]


NAMES = ("chosen", "rejected")


def _pair(row: Row, chosen: list[float], rejected: list[float]) -> Row:
    head = min(len(chosen), len(rejected))
    return {
        "id": row["id"],
        "chosen_logp": sum(chosen),
        "rejected_logp": sum(rejected),
        "chosen_head_logp": sum(chosen[:head]),
        "rejected_head_logp": sum(rejected[:head]),
    }

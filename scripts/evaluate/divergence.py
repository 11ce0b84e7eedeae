"""How far a trained model went from its reference: the KL divergence, on the model's own answers.

For answers y that the policy p itself sampled, untruncated and at temperature 1, the mean of
log p(y) - log q(y) is an unbiased estimate of KL(p || q), q the reference (Schulman 2020,
http://joschu.net/blog/kl-approx.html, where it is called k1). An answer is all that was written:
the end token is part of it, and one that was cut at `max_new_tokens` counts as far as it goes.
"""

from scripts.common.files import Row
from scripts.evaluate.scores import MeanMetric, item_metric


def divergence_metrics(rows: list[Row], groups: dict[str, str]) -> list[MeanMetric]:
    """Returns `kl` (nats per answer) and `kl_per_token`; none where answers have no log-probs.

    A base, which is its own reference, has none, and neither has a set that does not ask for them.
    """
    rows = [row for row in rows if row.get("reference_logp") is not None]
    if not rows:
        return []
    kl = item_metric(rows, groups, "kl", lambda row: row["logp"] - row["reference_logp"])
    tokens = [
        item | {"weight": float(scored_tokens(row))}
        for item, row in zip(kl.items, rows, strict=True)
    ]
    return [kl, MeanMetric("kl_per_token", tokens)]


def scored_tokens(row: Row) -> int:
    """Returns how many tokens an answer's log-prob is of: its own and the one that ended it."""
    return row["tokens"] + (row["stop"] == "eos")

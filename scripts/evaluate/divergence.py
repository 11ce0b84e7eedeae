"""How far a trained model moved from its reference: the KL divergence, on the model's own answers.

For answers y that the policy p itself sampled, untruncated and at temperature 1, the mean of
log p(y) - log q(y) is an unbiased estimate of KL(p || q), where q is the reference (Schulman 2020,
http://joschu.net/blog/kl-approx.html, where it is called k1). The end token is part of an answer;
of an answer that was cut at `max_new_tokens`, the tokens that it has count.
"""

from scripts.common.files import Row
from scripts.evaluate.scores import MeanMetric, item_metric


def divergence_metrics(rows: list[Row], groups: dict[str, str]) -> list[MeanMetric]:
    """Return `kl` (nats per answer) and `kl_per_token`, or nothing if answers have no log-probs.

    Those of a base, which is its own reference, have none, nor have those of a set without `kl`.
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
    """Return the number of tokens in an answer's log-prob: its own, and the one that ended it."""
    return row["tokens"] + (row["stop"] == "eos")

"""Log-probabilities of preference pairs."""

from typing import TYPE_CHECKING

from scripts.common.files import Row
from scripts.lm.logprobs import completion_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pair_logps(
    model: "PreTrainedModel", rows: list[Row], batch_size: int, pad_token_id: int
) -> list[Row]:
    """Returns id, chosen_logp and rejected_logp (nats) of each token row."""
    chosen = [(row["prompt_ids"], row["chosen_ids"]) for row in rows]
    rejected = [(row["prompt_ids"], row["rejected_ids"]) for row in rows]
    logps = completion_logps(model, chosen + rejected, batch_size, pad_token_id)
    return [
        {"id": row["id"], "chosen_logp": chosen_logp, "rejected_logp": rejected_logp}
        for row, chosen_logp, rejected_logp in zip(
            rows, logps[: len(rows)], logps[len(rows) :], strict=True
        )
    ]

"""Log-probabilities of completions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Sequence = tuple[list[int], list[int]]
"""Prompt ids and completion ids."""


def completion_logps(
    model: "PreTrainedModel", sequences: list[Sequence], batch_size: int, pad_token_id: int
) -> list[float]:
    """Returns each completion's log-probability given its prompt, in nats, in the given order.

    The sum over completion tokens of log p(token | all before it), computed in float32. Rows are
    sorted by length so that a batch holds little padding.
    """
    import torch

    logps = [0.0] * len(sequences)
    with torch.inference_mode():
        for indices in _batches_by_length(sequences, batch_size):
            batch = [sequences[index] for index in indices]
            for index, logp in zip(indices, _batch_logps(model, batch, pad_token_id), strict=True):
                logps[index] = logp
    return logps


def _batches_by_length(sequences: list[Sequence], batch_size: int) -> Iterator[list[int]]:
    def length(index: int) -> int:
        prompt, completion = sequences[index]
        return len(prompt) + len(completion)

    order = sorted(range(len(sequences)), key=length, reverse=True)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _batch_logps(model: "PreTrainedModel", batch: list[Sequence], pad_token_id: int) -> list[float]:
    import torch

    width = max(len(prompt) + len(completion) for prompt, completion in batch)
    ids = torch.full((len(batch), width), pad_token_id)
    attention = torch.zeros_like(ids)
    counted = torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(batch):
        length = len(prompt) + len(completion)
        ids[row, :length] = torch.tensor(prompt + completion)
        attention[row, :length] = 1
        counted[row, len(prompt) : length] = True
    ids, attention, counted = (t.to(model.device) for t in (ids, attention, counted))
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    return _selected(logits[:, :-1], ids[:, 1:], counted[:, 1:]).tolist()


def _selected(
    logits: "torch.Tensor", ids: "torch.Tensor", counted: "torch.Tensor"
) -> "torch.Tensor":
    """Returns each row's summed log-probability, shape (rows,), of the tokens that are counted."""
    chosen = logits[counted].float()
    logps = chosen.gather(-1, ids[counted].unsqueeze(-1)).squeeze(-1) - chosen.logsumexp(-1)
    rows = counted.nonzero()[:, 0]
    return logps.new_zeros(len(ids)).index_add_(0, rows, logps)

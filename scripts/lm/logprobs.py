"""Log-probabilities of completions."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from scripts.lm.prefix_tree import Rows

Sequence = tuple[list[int], list[int]]
"""Prompt ids and completion ids."""

PASS_TOKENS = 4096
"""Tokens of a forward pass. One number for every model and trial: what stands in a pass moves the
last digits of a log-prob, and those are to come from the model and the tokens alone."""

CHUNK = 256
"""Positions whose logits are float32 at a time."""


def completion_logps(model: "PreTrainedModel", sequences: list[Sequence]) -> list[list[float]]:
    """Returns the log-probability of each token of each completion, in nats, in the given order.

    log p(token | all before it), computed in float32. A prompt is computed once for all its
    completions, and so is what these begin with alike, where the model honours the mask that this
    takes. Where not, each sequence has a row of its own, and stderr says so.
    """
    import torch

    from scripts.lm.prefix_tree import fewest_tokens, separate_rows, tree_rows
    from scripts.lm.shared_forward import check_sharing

    logps: list[list[float]] = [[] for _ in sequences]
    if not sequences:
        return logps
    with torch.inference_mode():
        check = check_sharing(model, [])
        groups = _by_prompt(sequences)
        if not check.passed:
            print(f"scored row by row: {check.reason()}", file=sys.stderr)
            groups = [[place] for place in range(len(sequences))]
        # Nothing is predicted behind a last token.
        whole = [prompt + completion for prompt, completion in sequences]
        needed = [[whole[place][:-1] for place in group] for group in groups]
        for held in _passes(list(map(fewest_tokens, needed))):
            laid = [needed[group] for group in held]
            rows = tree_rows(laid) if check.passed else separate_rows([s for (s,) in laid])
            places = [place for group in held for place in groups[group]]
            batch = [sequences[place] for place in places]
            found = _pass_logps(model, rows, batch, check.passed)
            for place, values in zip(places, found, strict=True):
                logps[place] = values
    return logps


def _by_prompt(sequences: list[Sequence]) -> list[list[int]]:
    """Returns the places of the sequences of each prompt."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(sequences):
        groups.setdefault(tuple(prompt), []).append(place)
    return list(groups.values())


def _passes(sizes: list[int]) -> Iterator[list[int]]:
    """Yields the places of what stands in each forward pass; the largest first, so that alike rows
    stand together and a pass that does not fit into memory fails at once.
    """
    held: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if held and sum(sizes[other] for other in held) + sizes[place] > PASS_TOKENS:
            yield held
            held = []
        held.append(place)
    yield held


def _pass_logps(
    model: "PreTrainedModel", rows: "Rows", batch: list[Sequence], masked: bool
) -> list[list[float]]:
    import torch

    from scripts.lm.shared_forward import logits_at

    wanted: list[int] = []
    tokens: list[int] = []
    for places, (prompt, completion) in zip(rows.places, batch, strict=True):
        # A token is predicted where the one before it stands; the very first is not.
        wanted += places[max(len(prompt) - 1, 0) :]
        tokens += completion if prompt else completion[1:]
    logits = logits_at(model, rows, torch.tensor(wanted), masked)
    chosen = torch.tensor(tokens, device=logits.device)
    flat = torch.cat(
        [_selected(*part) for part in zip(logits.split(CHUNK), chosen.split(CHUNK), strict=True)]
    )
    counts = [len(completion) - (not prompt) for prompt, completion in batch]
    return [values.tolist() for values in flat.split(counts)]


def _selected(logits: "torch.Tensor", tokens: "torch.Tensor") -> "torch.Tensor":
    """Returns the log-probability of each token, shape (tokens,), float32."""
    logits = logits.float()
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)

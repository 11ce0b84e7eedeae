"""Log-probabilities of completions."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Sequence = tuple[list[int], list[int]]
"""Prompt ids and completion ids."""

PASS_TOKENS = 2048
"""Tokens of a forward pass. The same for every model and trial: which sequences share a pass
changes the last digits of a log-prob, which should depend only on the model and the tokens."""

CHUNK = 256
"""Positions whose logits are float32 at a time."""


def completion_logps(model: "PreTrainedModel", sequences: list[Sequence]) -> list[list[float]]:
    """Return the log-probability of each token of each completion, in nats, in the given order.

    log p(token | all tokens before it), computed in float32. A prompt is computed once for all its
    completions, and so are their common beginnings, if the model attends to prefix trees correctly.
    If not, each sequence has a padded row of its own, and stderr says why.
    """
    import torch

    from scripts.lm.prefix_tree import fewest_tokens
    from scripts.lm.tree_attention import attend_trees

    logps: list[list[float]] = [[] for _ in sequences]
    if not sequences:
        return logps
    with torch.inference_mode():
        lengths = (len(prompt) + len(completion) for prompt, completion in sequences)
        reason, _ = attend_trees(model, [], lengths)
        if reason:
            print(f"scored in separate rows: {reason}", file=sys.stderr)
        groups = [[place] for place in range(len(sequences))] if reason else _by_prompt(sequences)
        sizes = [fewest_tokens([_needed(sequences[place]) for place in g]) for g in groups]
        for held in _passes(sizes):
            batch = [[sequences[place] for place in groups[group]] for group in held]
            logits = (_padded_logits if reason else _tree_logits)(model, batch)
            places = [place for group in held for place in groups[group]]
            for place, found in zip(places, _selected(logits, batch), strict=True):
                logps[place] = found
    return logps


def _needed(sequence: Sequence) -> list[int]:
    """Return the tokens that are computed: a last token predicts nothing."""
    prompt, completion = sequence
    return (prompt + completion)[:-1]


def _first(prompt: list[int]) -> int:
    """Return where the first prediction is made; nothing predicts a row's first token."""
    return max(len(prompt) - 1, 0)


def _by_prompt(sequences: list[Sequence]) -> list[list[int]]:
    """Return the places of the sequences of each prompt."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(sequences):
        groups.setdefault(tuple(prompt), []).append(place)
    return list(groups.values())


def _passes(sizes: list[int]) -> Iterator[list[int]]:
    """Yield the places of the groups of each forward pass.

    The largest come first: groups of similar size share a pass, and one that does not fit into
    memory fails at once.
    """
    held: list[int] = []
    filled = 0
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if held and filled + sizes[place] > PASS_TOKENS:
            yield held
            held, filled = [], 0
        held.append(place)
        filled += sizes[place]
    yield held


def _tree_logits(model: "PreTrainedModel", groups: list[list[Sequence]]) -> "torch.Tensor":
    """Return the logits that predict each completion token, shape (tokens, vocabulary)."""
    import torch

    from scripts.lm.prefix_tree import shared
    from scripts.lm.tree_attention import logits_at

    sequences = [sequence for group in groups for sequence in group]
    tree = shared(list(map(_needed, sequences)))
    wanted = [
        place
        for places, (prompt, _) in zip(tree.places, sequences, strict=True)
        for place in places[_first(prompt) :]
    ]
    return logits_at(model, tree, torch.tensor(wanted))


def _padded_logits(model: "PreTrainedModel", groups: list[list[Sequence]]) -> "torch.Tensor":
    """Return the same for sequences in padded rows of their own."""
    import torch

    sequences = [sequence for group in groups for sequence in group]
    rows = [_needed(sequence) for sequence in sequences]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    attention, predicts = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for place, (row, (prompt, _)) in enumerate(zip(rows, sequences, strict=True)):
        ids[place, : len(row)] = torch.tensor(row)
        attention[place, : len(row)] = 1
        predicts[place, _first(prompt) : len(row)] = True
    ids, attention, predicts = (t.to(model.device) for t in (ids, attention, predicts))
    return model(input_ids=ids, attention_mask=attention, use_cache=False).logits[predicts]


def _selected(logits: "torch.Tensor", groups: list[list[Sequence]]) -> list[list[float]]:
    """Return each completion's log-probs, from the logits of all their tokens."""
    import torch

    completions = [
        completion if prompt else completion[1:] for group in groups for prompt, completion in group
    ]
    tokens = torch.tensor([token for completion in completions for token in completion])
    logps = []
    parts = zip(logits.split(CHUNK), tokens.to(logits.device).split(CHUNK), strict=True)
    for values, chosen in parts:
        values = values.float()
        logps.append(values.gather(-1, chosen[:, None])[:, 0] - values.logsumexp(-1))
    counts = list(map(len, completions))
    return [part.tolist() for part in torch.cat(logps).split(counts)]

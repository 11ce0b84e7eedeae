"""Prefix trees: token sequences laid out so that common prefixes are computed once.

A causal model's state at a token depends only on the tokens up to it. Sequences with a common
prefix therefore share its states, and the sequences of a batch form a tree: every token is computed
once, and attends to the tokens on the path from the root to it. A preference pair is the smallest
such tree, a prompt and two completions; all the pairs of one prompt form a larger one.

A tree is laid out in one row without padding. What a model computes token by token, it computes
once. Only attention combines tokens: there each sequence is a branch of its own. What it adds to
the row attends to all that comes before in the sequence, wherever in the row that stands.

Sequences that are to share nothing can stand in one row too, one behind the other.
"""

from dataclasses import dataclass
from itertools import chain, count
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

Sequence = list[int]
"""Token ids."""


class Branches(NamedTuple):
    """How attention sees a row: a branch for each sequence that adds tokens, in the row's order."""

    counts: list[int]
    """How many tokens each adds. They are its last ones, and stand side by side."""
    paths: list[torch.Tensor]
    """The places of all its tokens, shape (tokens,), int64."""

    @property
    def alone(self) -> bool:
        """Return True if no branch shares a token with an earlier one."""
        return sum(self.counts) == sum(map(len, self.paths))


class Batch(NamedTuple):
    """Branches as a batch, the shorter ones padded. All int64 except the mask."""

    queries: torch.Tensor
    """Shape (branches, queries): the places of the tokens that each adds."""
    keys: torch.Tensor
    """Shape (branches, keys): the places of all its tokens."""
    mask: torch.Tensor
    """Shape (branches, 1, queries, keys), bool: whether the key is on the path to the query."""
    order: torch.Tensor
    """Shape (tokens,): the index of each place in the flattened queries."""

    def to(self, device: torch.device) -> "Batch":
        """Return the same on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


def as_batch(branches: Branches) -> Batch:
    """Return branches as a batch, on the CPU."""
    counts = torch.tensor(branches.counts)
    new = [path[-added:] for added, path in zip(branches.counts, branches.paths, strict=True)]
    queries = pad_sequence(new, batch_first=True)
    keys = pad_sequence(branches.paths, batch_first=True)
    shared = torch.tensor([len(path) for path in branches.paths]) - counts
    place = torch.arange(queries.shape[1])
    last = shared[:, None] + place
    mask = torch.arange(keys.shape[1]) <= last[..., None]
    order = (place < counts[:, None]).flatten().nonzero()[:, 0]
    return Batch(queries, keys, mask[:, None], order)


@dataclass(frozen=True)
class Tree:
    """Sequences in one row. All tensors are on the CPU, int64."""

    ids: torch.Tensor
    """Shape (tokens,)."""
    positions: torch.Tensor
    """Shape (tokens,): how many tokens come before each in its sequences."""
    places: list[list[int]]
    """For each sequence, the places of its tokens in the row."""
    branches: Branches

    def inputs(self, device: torch.device) -> dict[str, Any]:
        """Return the arguments of a model; `branches` is for `tree_attention`."""
        # A GPU takes long to start many small kernels.
        apart = device.type == "cpu" or self.branches.alone
        return {
            "input_ids": self.ids[None].to(device),
            "position_ids": self.positions[None].to(device),
            "attention_mask": torch.ones(1, len(self.ids), dtype=torch.int64, device=device),
            "branches": self.branches if apart else as_batch(self.branches).to(device),
        }


def fewest_tokens(sequences: list[Sequence]) -> int:
    """Return how many tokens the prefix tree of the sequences has."""
    nodes: dict[tuple[int, int], int] = {}
    for sequence in sequences:
        _grow(nodes, sequence)
    return len(nodes)


def shared(sequences: list[Sequence]) -> Tree:
    """Return the prefix tree of sequences."""
    nodes: dict[tuple[int, int], int] = {}
    places, counts = [], []
    for sequence in sequences:
        before = len(nodes)
        places.append(_grow(nodes, sequence))
        counts.append(len(nodes) - before)
    return _tree([token for _, token in nodes], places, counts)


def packed(sequences: list[Sequence]) -> Tree:
    """Return sequences one after the other, without sharing."""
    free = count()
    places = [[next(free) for _ in sequence] for sequence in sequences]
    return _tree(list(chain.from_iterable(sequences)), places, list(map(len, sequences)))


def _tree(ids: list[int], places: list[list[int]], counts: list[int]) -> Tree:
    """Return a row, given how many tokens each sequence adds to it."""
    paths = [torch.tensor(path, dtype=torch.int64) for path in places]
    positions = torch.zeros(len(ids), dtype=torch.int64)
    for path in paths:
        positions[path] = torch.arange(len(path))
    adding = [place for place, added in enumerate(counts) if added]
    branches = Branches([counts[place] for place in adding], [paths[place] for place in adding])
    return Tree(torch.tensor(ids, dtype=torch.int64), positions, places, branches)


def _grow(nodes: dict[tuple[int, int], int], sequence: Sequence) -> list[int]:
    """Return the places of a sequence's tokens, and add those that are new.

    A node's key is its parent's place and its token. The first token's parent is the root, which
    is not a place: it is 0, and places are stored as 1 and up.
    """
    path, parent = [], 0
    for token in sequence:
        parent = nodes.setdefault((parent, token), len(nodes) + 1)
        path.append(parent - 1)
    return path

"""Prefix trees: token sequences laid out so that common prefixes are computed once.

A causal model's state at a token depends only on the tokens up to it. Sequences with a common
prefix therefore share its states, and the sequences of a batch form a tree: every token is computed
once, and attends to the tokens on the path from the root to it. A preference pair is the smallest
such tree, a prompt and two completions; all the pairs of one prompt form a larger one.

A tree is laid out in one row without padding. What a model computes token by token, it computes
once. Only attention combines tokens: there the row is seen as branches, one per group of sequences,
with the branch's own tokens as queries and all tokens on the paths of its sequences as keys.

Sequences that are to share nothing can stand in one row too, one behind the other. Attention then
sees each of them alone.
"""

from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, NamedTuple

import torch

Sequence = list[int]
"""Token ids."""


class Branches(NamedTuple):
    """How attention sees a row. Shorter branches are padded; all int64 except the mask."""

    queries: torch.Tensor
    """Shape (branches, queries): the places of the tokens that no earlier branch has."""
    keys: torch.Tensor
    """Shape (branches, keys): the places of all its tokens."""
    mask: torch.Tensor
    """Shape (branches, 1, queries, keys), bool: whether the key is on the path to the query. A
    query of padding attends to the first key, so that no softmax is empty."""
    order: torch.Tensor
    """Shape (tokens,): the index of each place in the flattened queries."""

    def to(self, device: torch.device) -> "Branches":
        """Return the same on a device."""
        return Branches(*(tensor.to(device) for tensor in self))


class Packed(NamedTuple):
    """How attention sees a row of sequences that share nothing: each alone, without padding."""

    lengths: list[int]

    def to(self, device: torch.device) -> "Packed":
        """Return the same, which is on no device."""
        return self


@dataclass(frozen=True)
class Tree:
    """Sequences in one row. All tensors are on the CPU, int64 except the mask."""

    ids: torch.Tensor
    """Shape (tokens,)."""
    positions: torch.Tensor
    """Shape (tokens,): how many tokens come before each in its sequences."""
    places: list[list[int]]
    """For each sequence, group by group, the places of its tokens in the row."""
    branches: Branches | Packed

    def inputs(self, device: torch.device) -> dict[str, Any]:
        """Return the arguments of a model; `branches` is for `tree_attention`."""
        return {
            "input_ids": self.ids[None].to(device),
            "position_ids": self.positions[None].to(device),
            "attention_mask": torch.ones(1, len(self.ids), dtype=torch.int64, device=device),
            "branches": self.branches.to(device),
        }


def fewest_tokens(sequences: list[Sequence]) -> int:
    """Return how many tokens the prefix tree of the sequences has."""
    nodes: dict[tuple[int, int], int] = {}
    for sequence in sequences:
        _grow(nodes, sequence)
    return len(nodes)


def shared(groups: list[list[Sequence]]) -> Tree:
    """Return the prefix tree of sequences; those of a group form one branch."""
    nodes: dict[tuple[int, int], int] = {}
    grown, starts = [], [0]
    for group in groups:
        grown.append([_grow(nodes, sequence) for sequence in group])
        starts.append(len(nodes))
    ids = torch.tensor([token for _, token in nodes], dtype=torch.int64)
    positions = torch.zeros_like(ids)
    for path in chain.from_iterable(grown):
        positions[path] = torch.arange(len(path))
    return Tree(ids, positions, list(chain.from_iterable(grown)), _branches(grown, starts))


def packed(sequences: list[Sequence]) -> Tree:
    """Return sequences one after the other, without sharing."""
    lengths = [len(sequence) for sequence in sequences if sequence]
    ids = torch.tensor(list(chain.from_iterable(sequences)), dtype=torch.int64)
    positions = torch.cat([torch.arange(length) for length in lengths])
    places = iter(range(len(ids)))
    return Tree(
        ids,
        positions,
        [[next(places) for _ in sequence] for sequence in sequences],
        Packed(lengths),
    )


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


def _branches(grown: list[list[list[int]]], starts: list[int]) -> Branches:
    """Return the branches of groups, given the paths of each and its first new place."""
    # In the order of their places, tokens come after those on the path to them.
    tokens = [sorted({place for path in paths for place in path}) for paths in grown]
    counts = [after - before for before, after in pairwise(starts)]
    shape = (len(grown), max(counts), max(map(len, tokens)))
    queries = torch.zeros(shape[:2], dtype=torch.int64)
    keys = torch.zeros(len(grown), shape[2], dtype=torch.int64)
    mask = torch.zeros(shape, dtype=torch.bool)
    order = torch.zeros(starts[-1], dtype=torch.int64)
    for branch, (paths, held, start, count) in enumerate(
        zip(grown, tokens, starts, counts, strict=False)
    ):
        queries[branch, :count] = torch.arange(start, start + count)
        order[start : start + count] = branch * shape[1] + torch.arange(count)
        keys[branch, : len(held)] = torch.tensor(held)
        column = {place: column for column, place in enumerate(held)}
        for path in paths:
            columns = torch.tensor([column[place] for place in path], dtype=torch.int64)
            new = torch.tensor([place >= start for place in path], dtype=torch.bool)
            own = torch.tensor(path, dtype=torch.int64)[new] - start
            earlier = torch.ones(len(path), len(path), dtype=torch.bool).tril()[new]
            mask[branch, own[:, None], columns[None]] = earlier
        mask[branch, count:, 0] = True
    return Branches(queries, keys, mask[:, None], order)

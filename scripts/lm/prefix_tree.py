"""Prefix trees: token sequences laid out so that what they begin with alike is computed once.

A causal model's state at a token depends on the tokens before it and on nothing else. Sequences
that begin alike therefore share those states, and the sequences of a batch form a tree: every
token is computed once, and attends to the tokens on its way from the root. A preference pair is the
smallest such tree, a prompt and two completions; all the pairs of one prompt are a larger one.

A tree is laid out depth first in one row, so that the tokens of a subtree stand side by side. A
token then attends to exactly those before it whose subtree holds it: one number a token, the end of
its subtree, says it all. Packed sequences are trees without branches.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch

Sequence = list[int]
"""Token ids."""

SLACK = 0.03
"""How many more tokens than in one row, as a share, narrower rows may take. Attention costs a token
as much as its row is wide; but a row repeats the beginnings that it shares with another."""

MOST_ROWS = 16


@dataclass(frozen=True)
class Rows:
    """Sequences in rows, ready for a model. All tensors are int64, on the CPU."""

    input_ids: torch.Tensor
    """Shape (rows, width)."""
    position_ids: torch.Tensor
    """Shape (rows, width): a token's place in its sequences."""
    ends: torch.Tensor
    """Shape (rows, width): the column behind the last token of each token's subtree."""
    places: list[list[int]]
    """For each sequence, in the order given, where its tokens stand: row * width + column."""

    def real(self) -> torch.Tensor:
        """Returns which tokens are no padding: bool, (rows, width)."""
        real = torch.zeros(self.input_ids.numel(), dtype=torch.bool)
        real[[place for path in self.places for place in path]] = True
        return real.view(self.input_ids.shape)

    @property
    def tokens(self) -> int:
        """Returns how many tokens a model computes, padding with them."""
        return self.input_ids.numel()

    def mask(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Returns which token attends to which: bool, (rows, 1, width from, width to).

        Padding attends to itself, so that no softmax is over nothing.
        """
        ends = self.ends.to(device)
        columns = torch.arange(ends.shape[1], device=device)
        earlier = columns[None, :] <= columns[:, None]
        inside = columns[None, :, None] < ends[:, None, :]
        return (earlier & inside)[:, None]


def common_prefix(one: Sequence, other: Sequence) -> int:
    """Returns with how many equal tokens two sequences begin."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def fewest_tokens(sequences: list[Sequence]) -> int:
    """Returns how many tokens the prefix tree of the sequences has."""
    ordered = sorted(sequences)
    repeated = sum(common_prefix(one, other) for one, other in pairwise(ordered))
    return sum(map(len, ordered)) - repeated


def tree_rows(groups: list[list[Sequence]]) -> Rows:
    """Returns the prefix trees of sequences, in rows as narrow as `SLACK` allows.

    The sequences of a group stand in one row. `places` follows the order of the groups.
    """
    sequences = [sequence for group in groups for sequence in group]
    sizes = [fewest_tokens(group) for group in groups]
    most = (1 + SLACK) * fewest_tokens(sequences)
    starts = [sum(map(len, groups[:index])) for index in range(len(groups))]
    members = [
        list(range(start, start + len(group))) for start, group in zip(starts, groups, strict=True)
    ]
    best = [[place for group in members for place in group]]
    for count in range(2, min(len(groups), MOST_ROWS) + 1):
        rows = [
            [place for group in row for place in members[group]] for row in _spread(sizes, count)
        ]
        width = max(fewest_tokens([sequences[place] for place in row]) for row in rows)
        if width * len(rows) <= most:
            best = rows
    return _lay_out(sequences, [_branching(sequences, row) for row in best])


def packed_rows(sequences: list[Sequence]) -> Rows:
    """Returns sequences one behind the other, in rows as narrow as `SLACK` allows."""
    sizes = list(map(len, sequences))
    best = [list(range(len(sequences)))]
    for count in range(2, min(len(sequences), MOST_ROWS) + 1):
        rows = _spread(sizes, count)
        width = max(sum(sizes[place] for place in row) for row in rows)
        if width * count <= (1 + SLACK) * sum(sizes):
            best = rows
    return _lay_out(sequences, [[(place, 0) for place in row] for row in best])


def separate_rows(sequences: list[Sequence]) -> Rows:
    """Returns each sequence in a row of its own, padded behind its end."""
    return _lay_out(sequences, [[(place, 0)] for place in range(len(sequences))])


def _spread(sizes: list[int], count: int) -> list[list[int]]:
    """Returns which sizes stand in which of `count` rows: the longest first, into the shortest row.

    R. L. Graham 1969, Bounds on multiprocessing timing anomalies, https://doi.org/10.1137/0117039.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        shortest = filled.index(min(filled))
        rows[shortest].append(place)
        filled[shortest] += sizes[place]
    return rows


def _branching(sequences: list[Sequence], row: list[int]) -> list[tuple[int, int]]:
    """Returns a row's sequences depth first, each with how many tokens it has of the one before."""
    ordered = sorted(row, key=lambda place: sequences[place])
    shared = [0] + [
        common_prefix(sequences[one], sequences[other]) for one, other in pairwise(ordered)
    ]
    return list(zip(ordered, shared, strict=True))


def _lay_out(sequences: list[Sequence], rows: list[list[tuple[int, int]]]) -> Rows:
    laid = []
    columns: list[tuple[int, list[int]]] = [(0, [])] * len(sequences)
    for number, row in enumerate(rows):
        ids: list[int] = []
        positions: list[int] = []
        ends: list[int] = []
        path: list[int] = []
        for place, shared in row:
            for column in path[shared:]:
                ends[column] = len(ids)
            tail = sequences[place][shared:]
            path = path[:shared] + list(range(len(ids), len(ids) + len(tail)))
            ids += tail
            positions += range(shared, shared + len(tail))
            ends += [0] * len(tail)
            columns[place] = (number, path)
        for column in path:
            ends[column] = len(ids)
        laid.append((ids, positions, ends))
    width = max(len(ids) for ids, _, _ in laid)
    input_ids, position_ids = torch.zeros(2, len(rows), width, dtype=torch.int64)
    # Padding is its own subtree.
    subtrees = torch.arange(1, width + 1).repeat(len(rows), 1)
    for number, (ids, positions, ends) in enumerate(laid):
        input_ids[number, : len(ids)] = torch.tensor(ids)
        position_ids[number, : len(ids)] = torch.tensor(positions)
        subtrees[number, : len(ids)] = torch.tensor(ends)
    places = [[number * width + column for column in path] for number, path in columns]
    return Rows(input_ids, position_ids, subtrees, places)

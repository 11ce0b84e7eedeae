"""The least work that a set of sequences needs: tokens and FLOPs.

A model has to compute a token after a given prefix only once, for all sequences that start that
way. The fewest tokens are therefore the nodes of the sequences' prefix tree, without last tokens,
after which nothing is predicted. This is an independent count to compare measurements with; no
training code imports it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True)
class Tree:
    """A prefix tree's size."""

    tokens: int
    """The number of nodes, that is of distinct prefixes."""
    reach: int
    """Attended positions, summed over tokens: a token sees those before it and itself."""

    def __add__(self, other: "Tree") -> "Tree":
        return Tree(self.tokens + other.tokens, self.reach + other.reach)


NOTHING = Tree(0, 0)


def tree(sequences: Iterable[Sequence[int]]) -> Tree:
    """Return the size of the sequences' prefix tree.

    In sorted order a sequence shares the most with the one before it; only the rest is new.
    """
    total, last = NOTHING, []
    for sequence in sorted(map(list, sequences)):
        shared = common(last, sequence)
        reach = _triangle(len(sequence)) - _triangle(shared)
        total += Tree(len(sequence) - shared, reach)
        last = sequence
    return total


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the common prefix of two sequences."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _triangle(length: int) -> int:
    return length * (length + 1) // 2


@dataclass(frozen=True)
class Weights:
    """The weights that each token is multiplied with, in a model with an adapter."""

    frozen: int
    """In the linear layers of all blocks."""
    adapter: int
    head: int
    """In the projection onto the vocabulary."""
    attention: int
    """Total width of the attention heads of all layers."""


def forward_flops(weights: Weights, size: Tree, predicted: int, adapted: bool = True) -> int:
    """Return the floating-point operations of a forward pass, two per weight and token.

    As in Kaplan et al. 2020 (https://arxiv.org/abs/2001.08361, table 1), attention added: a product
    of queries with keys and one of probabilities with values, over the attended tokens.

    Parameters
    ----------
    predicted
        Positions at which the loss uses logits.
    adapted
        Whether the adapter is on; the reference runs without it.
    """
    used = weights.frozen + weights.adapter * adapted
    return (
        2 * used * size.tokens + 2 * weights.head * predicted + 4 * weights.attention * size.reach
    )


def backward_flops(weights: Weights, size: Tree, predicted: int) -> int:
    """Return those of the backward pass; frozen weights only pass gradients to activations.

    The adapter's weights have gradients too. Attention has two products for each forward one.
    """
    through = 2 * (weights.frozen + 2 * weights.adapter) * size.tokens
    return through + 2 * weights.head * predicted + 8 * weights.attention * size.reach

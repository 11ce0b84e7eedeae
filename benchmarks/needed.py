"""What a set of sequences needs at least: tokens, and arithmetic on them.

A token behind a prefix is the same for every sequence that starts with both, so a model has to see
it once. The fewest tokens are the nodes of the sequences' prefix tree, their last tokens left out,
behind which nothing is predicted. They are counted here on their own account, for what is measured
to be compared with; nothing that trains imports this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True)
class Tree:
    """A prefix tree's size."""

    tokens: int
    """Its nodes: the distinct prefixes of the sequences."""
    reach: int
    """What they attend to, summed: a token sees those before it and itself."""

    def __add__(self, other: "Tree") -> "Tree":
        return Tree(self.tokens + other.tokens, self.reach + other.reach)


NOTHING = Tree(0, 0)


def tree(sequences: Iterable[Sequence[int]]) -> Tree:
    """Returns the size of the sequences' prefix tree.

    In sorted order a sequence shares the most with the one before it, and adds what is behind that.
    """
    total, last = NOTHING, []
    for sequence in sorted(map(list, sequences)):
        shared = common(last, sequence)
        reach = _triangle(len(sequence)) - _triangle(shared)
        total += Tree(len(sequence) - shared, reach)
        last = sequence
    return total


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns how many tokens two sequences have in common at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _triangle(length: int) -> int:
    return length * (length + 1) // 2


@dataclass(frozen=True)
class Weights:
    """Of a model with an adapter: what a token is multiplied with."""

    frozen: int
    """In the linear layers of all blocks."""
    adapter: int
    head: int
    """In the projection onto the vocabulary."""
    attention: int
    """Width of all heads of all layers together."""


def forward_flops(weights: Weights, size: Tree, predicted: int, adapted: bool = True) -> int:
    """Returns the floating-point operations of a forward pass, two to a weight and token.

    As in Kaplan et al. 2020 (https://arxiv.org/abs/2001.08361, table 1), attention added: a product
    of queries with keys and one of probabilities with values, over the tokens that are seen.

    Parameters
    ----------
    predicted
        Positions whose logits the loss takes.
    adapted
        Whether the adapter is on; the reference is without.
    """
    used = weights.frozen + weights.adapter * adapted
    return (
        2 * used * size.tokens + 2 * weights.head * predicted + 4 * weights.attention * size.reach
    )


def backward_flops(weights: Weights, size: Tree, predicted: int) -> int:
    """Returns those of the backward pass: through frozen weights to activations alone.

    The adapter's weights have gradients too; attention has two products for each of its forward.
    """
    through = 2 * (weights.frozen + 2 * weights.adapter) * size.tokens
    return through + 2 * weights.head * predicted + 8 * weights.attention * size.reach

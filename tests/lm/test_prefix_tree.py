"""Prefix trees against brute force: sets of prefixes, and paths token by token."""

import random

import pytest

from scripts.lm.prefix_tree import Sequence, Tree, as_batch, fewest_tokens, packed, shared

PAIR = [[5, 6, 7, 8], [5, 6, 9]]
ODD = {
    "one pair": [PAIR],
    "a completion of one token": [[[5, 6, 7], [5, 6, 8, 9, 9]]],
    "identical completions": [[[5, 6, 7], [5, 6, 7]]],
    "a completion that begins the other": [[[5, 6, 7], [5, 6, 7, 8, 9]]],
    "one that ends within the other, the other way round": [[[5, 6, 7, 8, 9], [5, 6, 7]]],
    "pairs of one prompt": [PAIR, [[5, 6, 7, 9], [5, 6, 9]]],
    "pairs that share nothing": [PAIR, [[6, 6], [6, 7]]],
    "a pair that is there already": [PAIR, [[6, 6], [6, 7]], PAIR],
    "nothing to compute": [[[5, 6], []], [[5], [5]]],
    "repeated tokens": [[[5, 5, 5, 5], [5, 5]], [[5, 5, 5], [5, 5, 5, 5, 5]]],
}


def drawn(seed: int) -> list[list[Sequence]]:
    """Return pairs from a small vocabulary, so that they share prefixes of any length."""
    generator = random.Random(seed)

    def sequence() -> Sequence:
        return [generator.randrange(2) for _ in range(generator.randint(1, 9))]

    return [[sequence(), sequence()] for _ in range(generator.randint(1, 7))]


CASES = [*ODD.values(), *(drawn(seed) for seed in range(30))]


def flat(groups: list[list[Sequence]]) -> list[Sequence]:
    return [sequence for group in groups for sequence in group]


def prefixes(sequences: list[Sequence]) -> set[tuple[int, ...]]:
    return {tuple(s[:length]) for s in sequences for length in range(1, len(s) + 1)}


def attended(tree: Tree) -> list[set[int]]:
    """Return for each position those that its query attends to, according to the branches."""
    found = []
    for added, path in zip(tree.branches.counts, tree.branches.paths, strict=True):
        places = path.tolist()
        assert places[-added:] == [len(found) + place for place in range(added)]
        found += [set(places[: end + 1]) for end in range(len(places) - added, len(places))]
    return found


def attended_as_batch(tree: Tree) -> list[set[int]]:
    """Return the same according to the batch."""
    queries, keys, mask, order = as_batch(tree.branches)
    assert mask.any(-1).all(), "a query of padding attends to nothing"
    found = []
    for place, slot in enumerate(order.tolist()):
        branch, query = divmod(slot, queries.shape[1])
        assert queries[branch, query] == place
        places = keys[branch, mask[branch, 0, query]].tolist()
        assert len(set(places)) == len(places)
        found.append(set(places))
    return found


@pytest.mark.parametrize("groups", CASES)
def test_a_tree_has_each_prefix_once(groups: list[list[Sequence]]) -> None:
    tree = shared(flat(groups))
    assert len(tree.ids) == fewest_tokens(flat(groups)) == len(prefixes(flat(groups)))


@pytest.mark.parametrize("lay_out", [shared, packed])
@pytest.mark.parametrize("groups", CASES)
def test_each_sequence_stands_at_its_places(groups: list[list[Sequence]], lay_out: object) -> None:
    sequences = flat(groups)
    tree = lay_out(sequences)
    assert len(tree.places) == len(sequences)
    for sequence, places in zip(sequences, tree.places, strict=True):
        assert tree.ids[places].tolist() == sequence
        assert tree.positions[places].tolist() == list(range(len(sequence)))


@pytest.mark.parametrize("lay_out", [shared, packed])
@pytest.mark.parametrize("groups", CASES)
def test_a_token_attends_to_its_own_way_from_the_root(
    groups: list[list[Sequence]], lay_out: object
) -> None:
    tree = lay_out(flat(groups))
    ways = {
        place: set(places[: depth + 1])
        for places in tree.places
        for depth, place in enumerate(places)
    }
    expected = [ways[place] for place in range(len(tree.ids))]
    assert attended(tree) == attended_as_batch(tree) == expected


def test_pairs_by_hand() -> None:
    tree = shared([*PAIR, [5, 6, 7, 9], [5, 6], [5, 4]])
    assert tree.ids.tolist() == [5, 6, 7, 8, 9, 9, 4]
    assert tree.positions.tolist() == [0, 1, 2, 3, 2, 3, 1]
    assert tree.places == [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2, 5], [0, 1], [0, 6]]
    assert tree.branches.counts == [4, 1, 1, 1]
    paths = [path.tolist() for path in tree.branches.paths]
    assert paths == [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2, 5], [0, 6]]
    assert not tree.branches.alone
    queries, keys, mask, order = as_batch(tree.branches)
    assert queries.tolist() == [[0, 1, 2, 3], [4, 0, 0, 0], [5, 0, 0, 0], [6, 0, 0, 0]]
    assert keys.tolist() == [[0, 1, 2, 3], [0, 1, 4, 0], [0, 1, 2, 5], [0, 6, 0, 0]]
    assert order.tolist() == [0, 1, 2, 3, 4, 8, 12]
    lower = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert mask[0, 0].int().tolist() == lower
    assert mask[1:, 0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]


def test_packed_rows_share_nothing() -> None:
    tree = packed([[5, 6, 7], [5, 6, 7], [5, 8]])
    assert tree.ids.tolist() == [5, 6, 7, 5, 6, 7, 5, 8]
    assert tree.positions.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert tree.places == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert tree.branches.counts == [3, 3, 2]
    assert tree.branches.alone

"""The minimum cut, against all possible ones."""

import itertools
from collections.abc import Hashable

import numpy as np
import pytest

from backprop_jax.partition.cut import minimum_cut

Values = dict[Hashable, int]


def can_be_had(value: str, kept: set, cost: Values, made_from: dict, only_forward: set) -> bool:
    """Returns whether a value is there on the way back, or can be computed from what is."""
    if value in kept or value not in cost:
        return True
    if value in only_forward:
        return False
    operands = made_from.get(value, ())
    return all(can_be_had(v, kept, cost, made_from, only_forward) for v in operands)


def cheapest(cost: Values, made_from: dict, only_forward: set, wanted: list) -> int:
    """Returns the least cost of any set that will do, by trying them all."""
    best = sum(cost.values())
    for count in range(len(cost) + 1):
        for kept in itertools.combinations(cost, count):
            price = sum(cost[v] for v in kept)
            if price < best and all(
                can_be_had(v, set(kept), cost, made_from, only_forward) for v in wanted
            ):
                best = price
    return best


@pytest.mark.parametrize("seed", range(60))
def test_no_set_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    names = [f"v{i}" for i in range(int(rng.integers(2, 9)))]
    made_from = {
        name: [*rng.choice(names[:i], rng.integers(1, min(i, 3) + 1), replace=False)]
        for i, name in enumerate(names)
        if i > 1
    }
    cost = {name: int(rng.integers(1, 20)) for name in names if rng.random() < 0.9}
    only_forward = {*names[:2], *(name for name in names if rng.random() < 0.2)} & set(cost)
    wanted = [name for name in names if rng.random() < 0.4 and name in cost]
    kept = minimum_cut(cost, made_from, only_forward, wanted)
    for value in wanted:
        assert can_be_had(value, kept, cost, made_from, only_forward), f"{value} is lost"
    least = cheapest(cost, made_from, only_forward, wanted)
    assert sum(cost[v] for v in kept) == least


def test_a_long_chain_takes_no_time_and_keeps_its_narrowest_place():
    names = [f"v{i}" for i in range(2000)]
    made_from = {b: [a] for a, b in itertools.pairwise(names)}
    cost = {name: 100 for name in names} | {"v777": 1}
    assert minimum_cut(cost, made_from, ["v0"], ["v1999"]) == {"v777"}


def test_a_value_is_looked_up_a_few_times_however_many_there_are():
    rng, looked_up = np.random.default_rng(0), 0

    class Value:
        def __hash__(self) -> int:
            nonlocal looked_up
            looked_up += 1
            return id(self)

    def run(count: int) -> float:
        nonlocal looked_up
        values: list[Hashable] = [Value() for _ in range(count)]
        cost = {v: int(rng.choice([4, 8, 64, 800])) for v in values}
        made_from = {v: values[max(0, i - 9) : i : 4] for i, v in enumerate(values) if i > 9}
        wanted = [v for v in values if rng.random() < 0.3]
        looked_up = 0
        minimum_cut(cost, made_from, values[:9], wanted)
        return looked_up / count

    assert run(100) < 20
    assert run(1000) < 20


def test_nothing_is_kept_for_nothing():
    assert minimum_cut({"x": 4, "y": 8}, {"y": ["x"]}, ["x"], []) == set()

"""The minimum cut: which values to keep, when those between them can be computed again.

Every value is a pipe as wide as its bytes. Water flows from the values that are there in the
forward sweep only, through whatever is computed from them, to the values that the way back reads.
Keeping a value stops its pipe. The cheapest set of values that stops all water is the set to keep.

Source: Ford and Fulkerson 1956 (maximum flow, minimum cut); Dinic 1970 (the algorithm); for its use
here, Chen et al. 2022, "min-cut rematerialization" in functorch.
"""

import itertools
from collections import deque
from collections.abc import Hashable, Iterable, Mapping

INFINITE = 1 << 62


class Network:
    """A directed graph with capacities, in which flow is pushed from one node to another."""

    def __init__(self) -> None:
        self.edges: dict[Hashable, dict[Hashable, int]] = {}

    def connect(self, a: Hashable, b: Hashable, capacity: int) -> None:
        """Adds room for flow from `a` to `b`."""
        forward = self.edges.setdefault(a, {})
        forward[b] = min(INFINITE, forward.get(b, 0) + capacity)
        self.edges.setdefault(b, {}).setdefault(a, 0)

    def levels(self, source: Hashable, sink: Hashable) -> dict[Hashable, int]:
        """Returns the distance from the source of every node nearer than the sink, and of that.

        If no more flow can reach the sink, it is every node that more flow could reach.
        """
        level = {source: 0}
        queue = deque([source])
        while queue:
            a = queue.popleft()
            for b, room in self.edges.get(a, {}).items():
                if room > 0 and b not in level:
                    level[b] = level[a] + 1
                    if b == sink:
                        return level
                    queue.append(b)
        return level

    def push(self, source: Hashable, sink: Hashable, level: Mapping[Hashable, int]) -> None:
        """Pushes flow along shortest paths until none is left."""
        untried: dict[Hashable, list[Hashable]] = {}
        path = [source]
        while path:
            a = path[-1]
            if a == sink:
                hops = list(itertools.pairwise(path))
                amount = min(self.edges[u][v] for u, v in hops)
                for u, v in hops:
                    self.edges[u][v] -= amount
                    self.edges[v][u] += amount
                full = next(i for i, (u, v) in enumerate(hops) if not self.edges[u][v])
                del path[full + 1 :]
                continue
            if a not in untried:  # within a phase no edge between two levels gets room
                further = level[a] + 1
                rooms = self.edges[a].items()
                untried[a] = [b for b, room in rooms if room > 0 and level.get(b) == further]
            targets = untried[a]
            while targets and not self.edges[a][targets[-1]]:
                targets.pop()
            if targets:
                path.append(targets[-1])
            else:
                path.pop()
                if path:
                    untried[path[-1]].pop()

    def reachable_after_flow(self, source: Hashable, sink: Hashable) -> set[Hashable]:
        """Pushes all the flow there can be; returns the nodes on the source's side of the cut."""
        while sink in (level := self.levels(source, sink)):
            self.push(source, sink, level)
        return set(level)


def minimum_cut(
    cost: Mapping[Hashable, int],
    made_from: Mapping[Hashable, Iterable[Hashable]],
    only_forward: Iterable[Hashable],
    wanted: Iterable[Hashable],
) -> set[Hashable]:
    """Returns the values to keep: the cheapest set from which everything wanted can be had.

    Args:
      cost: bytes of every value that could be kept. Values without a cost are at hand for nothing.
      made_from: for every value computed, the values it is computed from.
      only_forward: values that cannot or must not be computed a second time.
      wanted: values the way back reads.
    """
    network = Network()
    number = {value: 2 * i for i, value in enumerate(cost)}  # where it is entered; left, one more
    for value, bytes_ in cost.items():
        network.connect(number[value], number[value] + 1, bytes_)
        for operand in made_from.get(value, ()):
            if operand in cost:
                network.connect(number[operand] + 1, number[value], INFINITE)
    for value in only_forward:
        network.connect("source", number[value], INFINITE)
    for value in wanted:
        network.connect(number[value] + 1, "sink", INFINITE)
    reached = network.reachable_after_flow("source", "sink")
    return {v for v in cost if number[v] in reached and number[v] + 1 not in reached}

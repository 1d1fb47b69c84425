"""The order in which the table is worked through."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the checks of one case next to each other: they share what XLA has compiled."""
    order: dict[str, int] = {}

    def place(item: pytest.Item) -> tuple:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        name = getattr(case, "name", "")
        return str(item.path), order.setdefault(name, len(order))

    items.sort(key=place)

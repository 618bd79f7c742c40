"""What all tests share."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser tests last: Playwright's event loop stays in the main thread until
    the session ends, and no other loop can run there meanwhile.
    """
    items.sort(key=lambda item: "/browser/" in item.path.as_posix())

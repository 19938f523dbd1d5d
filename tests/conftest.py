"""What holds for all tests."""

import os

import pytest

# A stage uses one thread, and the workers of a test run share the cores: a second thread would only wait for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that the other workers have all the rest to do meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")

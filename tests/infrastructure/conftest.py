from tests.fixtures import world

__all__ = ["world"]

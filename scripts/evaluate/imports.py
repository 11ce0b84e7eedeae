"""Leaving out what a library imports and does without."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_importable(module: str) -> Iterator[None]:
    """Makes imports of a module fail in the block, unless it is loaded already."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]

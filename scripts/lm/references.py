"""The model that a trial is compared with: the one that it started from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel

OVERWRITTEN = "overwritten"


@contextmanager
def as_reference(model: "PeftModel", start: Path | None) -> Iterator[None]:
    """Makes the model its own reference in the block, its weights in memory once.

    Without a `start` that is the model less its adapter: the base, or the base with the merged
    adapter of the trial's start. An overwritten `start` was never merged: the reference has that
    adapter, whole, in the place of the trial's.
    """
    if start is None:
        with model.disable_adapter():
            yield
        return
    own = model.active_adapter
    model.load_adapter(start, adapter_name=OVERWRITTEN)
    model.set_adapter(OVERWRITTEN)
    try:
        yield
    finally:
        model.set_adapter(own)
        model.delete_adapter(OVERWRITTEN)

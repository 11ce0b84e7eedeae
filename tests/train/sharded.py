"""Runs a module with its model sharded by FSDP2 where there is no GPU.

accelerate shards over accelerators alone, and copies the model to processes on a CPU. Told that
these are accelerators, it runs the same code over gloo.
"""

import runpy
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType


def main() -> None:
    """Runs the module that the first argument names with the others."""
    inner = PartialState.set_device

    def set_device(state: PartialState) -> None:
        inner(state)
        state.distributed_type = DistributedType.MULTI_GPU

    PartialState.set_device = set_device
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

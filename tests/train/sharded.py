"""Run a module with its model sharded by FSDP2 where there is no GPU.

accelerate only shards over accelerators; on CPUs it copies the model to each process. Here it is
told that the CPUs are accelerators, so it runs the same code over gloo.
"""

import runpy
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType


def main() -> None:
    """Run the module named by the first argument, with the other arguments."""
    inner = PartialState.set_device

    def set_device(state: PartialState) -> None:
        inner(state)
        state.distributed_type = DistributedType.MULTI_GPU

    PartialState.set_device = set_device
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

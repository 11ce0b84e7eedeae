"""One trial in several processes: what each of them knows of the others, and how they are started.

    python -m scripts.train.processes --count 2 scripts.train.sft --trial ...

starts a trainer's module in so many processes by accelerate, which shards the model over them
(FSDP2), each on a GPU of its own, or on a CPU where there is none. One trains alone without this.
"""

import argparse
import os
import signal
import sys
from typing import Any

from scripts.common.cli import BadInput, run


def count() -> int:
    """Returns how many processes train this trial."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Returns the place of this process among those that train this trial."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Tells whether this process is the one that prints, and writes what all of them made."""
    return rank() == 0


def meet() -> None:
    """Starts talking with the others, and returns when all have come here."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def all_of(value: Any) -> list[Any]:
    """Returns what each process has here, the first's first; all have to call it."""
    if count() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def whole(tensor: Any) -> Any:
    """Returns a tensor that is sharded over the processes as one; all have to call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_like(tensor: Any, other: Any) -> Any:
    """Returns a whole tensor sharded as another is, or as it is where that is whole."""
    if not hasattr(other, "placements"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)


def trained_weights(model: Any) -> dict[str, Any]:
    """Returns the weights that are trained, each whole, on the CPU; all have to call it."""
    return {
        name: whole(weight.detach()).contiguous().cpu()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def divided(trainer: dict[str, Any], processes: int) -> dict[str, int]:
    """Returns a process's batch size and accumulation, so that a step has the rows of one process.

    The accumulation is divided where that is possible, since the batches stay what they are; else
    the batches are.

    Raises
    ------
    BadInput
        When neither divides.
    """
    size, window = trainer["per_device_train_batch_size"], trainer["gradient_accumulation_steps"]
    if window % processes == 0:
        window //= processes
    elif size % processes == 0:
        size //= processes
    else:
        raise BadInput(
            f"processes: found {processes}, which divides neither gradient_accumulation_steps "
            f"({window}) nor per_device_train_batch_size ({size})"
        )
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": window}


def check_rows(trainer: dict[str, Any], rows: int, valid: int | None) -> None:
    """Stops where the processes would see rows that one process does not.

    accelerate fills the last round of batches with rows from the beginning.

    Raises
    ------
    BadInput
        When some round is not full.
    """
    processes, size = count(), divided(trainer, count())["per_device_train_batch_size"]
    if processes == 1:
        return
    batch = trainer["per_device_train_batch_size"]
    one_step = batch * trainer["gradient_accumulation_steps"]
    seen = rows // batch * batch if trainer["dataloader_drop_last"] else rows
    if 0 < trainer["max_steps"] * one_step <= rows:
        seen = 0
    for what, number in (("rows", seen), ("rows of the valid split", valid or 0)):
        if number % (size * processes):
            raise BadInput(
                f"processes: found {number} {what}, which are no multiple of the "
                f"{size * processes} that {processes} processes take at a time, {size} each"
            )


def command(processes: int, module: str, arguments: list[str], gpus: int) -> list[str]:
    """Returns accelerate's command line.

    Raises
    ------
    BadInput
        When there are GPUs, but not one for each process.
    """
    if 0 < gpus < processes:
        raise BadInput(
            f"processes: found {processes} for {gpus} GPUs; each needs one of its own "
            f"(snakemake --resources gpu={processes})"
        )
    return [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
        *("--fsdp_cpu_ram_efficient_loading", "false", "--module", module, *arguments),
    ]


def main(argv: list[str] | None = None) -> int:
    """Becomes accelerate's launcher, which hands SIGTERM and the signals of a terminal on.

    SIGUSR1 and SIGUSR2 it ignores: a trainer that is to stop by one of them has to be sent it.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.train.processes", description=__doc__)
    parser.add_argument("--count", type=int, required=True, help="of processes")
    parser.add_argument("module", help="scripts.train.sft or scripts.train.dpo")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the module's own")
    given = parser.parse_args(argv)
    import torch

    gpus = torch.cuda.device_count()
    words = command(given.count, given.module, given.arguments, gpus)
    if not gpus:
        # Of the launcher's own options one excludes the other.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    # The launcher has no handler for these, and would die of Slurm's warning, which every process
    # of a job gets. What is ignored stays so in what is executed; the trainers heed them again.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    os.execv(words[0], words)


if __name__ == "__main__":
    run(main)

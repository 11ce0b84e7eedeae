"""One trial trained by several processes: their number and ranks, and how they are started.

    python -m scripts.train.processes --count 2 scripts.train.sft --trial ...

starts a method's module in that many processes with accelerate, which shards the model over them
(FSDP2), each on its own GPU, or on the CPU if there is no GPU.
"""

import argparse
import os
import signal
import sys
from typing import Any

from scripts.common.cli import BadInput, run


def count() -> int:
    """Return how many processes train this trial."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process among those that train this trial."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Return True in the process that prints and writes files."""
    return rank() == 0


def meet() -> None:
    """Connect to the other processes, and return when all have called this."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def all_of(value: Any) -> list[Any]:
    """Return the values of all processes by rank; all have to call it."""
    if count() == 1:
        return [value]
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def whole(tensor: Any) -> Any:
    """Return a tensor that is sharded over the processes as one; all have to call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_like(tensor: Any, other: Any) -> Any:
    """Return a whole tensor sharded like another, or as it is if that one is not sharded."""
    if not hasattr(other, "placements"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)


def trained_weights(model: Any) -> dict[str, Any]:
    """Return the weights that are trained, not sharded, on the CPU; all have to call it."""
    return {
        name: whole(weight.detach()).contiguous().cpu()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def divided(trainer: dict[str, Any], processes: int) -> dict[str, int]:
    """Return the batch size and accumulation of each process, for steps with the same rows.

    The accumulation is divided if possible, since that leaves the batches as they are; otherwise
    the batch size is.

    Raises
    ------
    BadInput
        When neither is divisible.
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
    """Raise BadInput if several processes would train on other rows than one does.

    accelerate fills an incomplete last round of batches with rows from the beginning.
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
    """Return accelerate's command line.

    Raises
    ------
    BadInput
        When there are GPUs, but fewer than processes.
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
    """Become accelerate's launcher, which passes on SIGTERM and the signals of a terminal.

    It ignores SIGUSR1 and SIGUSR2, which have to be sent to the trainers themselves.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.train.processes", description=__doc__)
    parser.add_argument("--count", type=int, required=True, help="of processes")
    parser.add_argument("module", help="a method's, such as scripts.train.sft")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the module's own")
    given = parser.parse_args(argv)
    import torch

    gpus = torch.cuda.device_count()
    words = command(given.count, given.module, given.arguments, gpus)
    if not gpus:
        # The launcher's option for this excludes the one for FSDP.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    # The launcher has no handler for these, and Slurm's warning, which every process of a job
    # gets, would end it. Ignored signals stay ignored after exec; trainers install handlers again.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    os.execv(words[0], words)


if __name__ == "__main__":
    run(main)

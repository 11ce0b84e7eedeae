"""The machine's device."""


def pin_threads() -> None:
    """Pins one thread on a CPU, because one and two threads give different bytes."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)

"""The machine's device."""


def pin_threads() -> None:
    """Pins one thread on a CPU, because one and two threads give different bytes."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def device_name() -> str:
    """Returns what torch computes on here: the GPU's name, or cpu."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

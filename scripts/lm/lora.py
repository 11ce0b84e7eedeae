"""LoRA layers that take one step forward and one back.

PEFT computes a layer and what LoRA adds to it one after the other. In bfloat16, it converts the
input of each layer to float32, the type of LoRA's weights, and autocast converts it back. Scaling
and adding take a pass over the output each, in both directions. Here LoRA's products are added to
the layer's own output, and its input's gradient, by the matrix product itself, in the layer's type.
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch.nn.functional import linear


def fuse_lora(model: torch.nn.Module) -> None:
    """Let a model's plain LoRA layers on the CPU be computed in one step each."""
    for layer in model.modules():
        if (
            type(layer) is Linear
            and type(layer.base_layer) is torch.nn.Linear
            and layer.base_layer.weight.device.type == "cpu"
            and not (layer.lora_variant or any(layer.lora_bias.values()))
        ):
            layer.forward = partial(_forward, layer)


def _forward(layer: Linear, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return a layer's output with its adapter, as PEFT does."""
    own = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(own) != 1:
        return Linear.forward(layer, x, *args, **kwargs)
    base, name = layer.base_layer, own[0]
    x = x.to(base.weight.dtype)
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    dropped = layer.lora_dropout[name](x)
    return _WithLora.apply(x, dropped, base.weight, base.bias, down, up, layer.scaling[name])


class _WithLora(torch.autograd.Function):
    """Returns x W' + b + scaling (dropped A') B', for frozen W and b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        ctx.scaling, ctx.dtype, ctx.same = scaling, down.dtype, dropped is x
        down, up = down.to(weight.dtype), up.to(weight.dtype)
        output = linear(x, weight, bias)
        low = linear(dropped, down)
        _flat(output).addmm_(_flat(low), up.t(), alpha=scaling)
        ctx.save_for_backward(dropped, low, weight, down, up)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        dropped, low, weight, down, up = ctx.saved_tensors
        shape = dropped.shape
        output, low, dropped = _flat(gradient), _flat(low), _flat(dropped)
        through = output @ up
        of_down = (through.t() @ dropped).to(ctx.dtype) * ctx.scaling
        of_up = (output.t() @ low).to(ctx.dtype) * ctx.scaling
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = output @ weight
            if ctx.same:
                of_x.addmm_(through, down, alpha=ctx.scaling)
            else:
                of_dropped = (through @ down * ctx.scaling).view(shape)
            of_x = of_x.view(shape)
        return of_x, of_dropped, None, None, of_down, of_up, None


def _flat(states: torch.Tensor) -> torch.Tensor:
    """Return states of any shape as (tokens, size)."""
    return states.flatten(0, -2)

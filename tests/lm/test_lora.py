"""LoRA layers in one step, against PEFT's."""

from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from scripts.lm.lora import fuse_lora

IDS = torch.arange(24).view(2, 12)


def adapted(dtype: torch.dtype, dropout: float) -> torch.nn.Module:
    """Return a Qwen2, which has biases, with an adapter that is not zero."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=32, num_hidden_layers=2, num_key_value_heads=2, **sizes)
    base = Qwen2ForCausalLM(config).to(dtype)
    lora = LoraConfig(r=4, lora_alpha=6, lora_dropout=dropout, target_modules="all-linear")
    model = get_peft_model(base, lora).train()
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight.data, std=0.2)
    return model


def computed(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and the gradients of the adapter."""
    torch.manual_seed(1)
    model.zero_grad()
    half = next(model.parameters()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        logits = model(IDS).logits.float()
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    assert {weight.grad.dtype for weight in weights} == {torch.float32}
    return logits.detach(), torch.cat([weight.grad.flatten() for weight in weights])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_one_step_is_pefts_two(dropout: float) -> None:
    model = adapted(torch.float32, dropout)
    expected = computed(model)
    fuse_lora(model)
    assert sum("forward" in vars(layer) for layer in model.modules()) == 14
    for found, right in zip(computed(model), expected, strict=True):
        assert (found - right).norm() < 1e-5 * right.norm()


def test_a_layer_in_bfloat16_is_no_further_from_float64_than_pefts() -> None:
    model = adapted(torch.bfloat16, 0.0)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    generator = torch.Generator().manual_seed(2)
    states, gradient = (torch.randn(24, size, generator=generator).bfloat16() for size in (80, 48))

    def found(half: bool) -> list[torch.Tensor]:
        """Return the output, and the gradients of input and adapter."""
        of = [states.to(layer.weight.dtype).requires_grad_()]
        of += [weight for weight in layer.parameters() if weight.requires_grad]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = layer(of[0])
        found = [output, *torch.autograd.grad(output, of, gradient.to(output.dtype))]
        return [tensor.detach().double() for tensor in found]

    peft = found(half=True)
    fuse_lora(model)
    fused = found(half=True)
    del layer.forward
    layer.double()
    for ours, theirs, exact in zip(fused, peft, found(half=False), strict=True):
        assert 0 < (ours - exact).norm() <= 1.05 * (theirs - exact).norm() < 0.01 * exact.norm()


def test_a_disabled_adapter_adds_nothing() -> None:
    model = adapted(torch.float32, 0.0)
    with torch.no_grad():
        with model.disable_adapter():
            base = model(IDS).logits
        fuse_lora(model)
        assert not torch.allclose(model(IDS).logits, base, atol=1e-2)
        with model.disable_adapter():
            assert torch.equal(model(IDS).logits, base)

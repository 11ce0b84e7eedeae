"""Attention over prefix trees, and a check that a model computes them correctly.

The attention is transformers' own (`sdpa`, with an explicit mask), called once for all branches of
a row. A model selects it by name. But some models have their own attention, and silently ignore
arguments that they do not know, always or only in training. So no model is trusted:
`check_sharing` compares, on the model at hand, pairs laid out as a tree with the same pairs in rows
of their own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from scripts.lm.prefix_tree import Branches, Sequence, Tree, shared

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NAME = "prefix_tree"

ALLOWED_FLOAT32, ALLOWED_16_BIT = 1e-3, 0.1
"""How far shared log-probs and gradients may be from separate ones, as a share of the distance of
those with branches ignored. Rounding gave 1e-6 and 4e-3: Llamas and Qwen2s of 3 layers."""


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    branches: Branches | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention's output, shape (rows, tokens, heads, size).

    Without branches, it is that of `sdpa`. With them there is one row, and each of its branches is
    computed like a row of a batch.

    Parameters
    ----------
    query, key, value
        Shape (rows, heads, tokens, size); keys and values may have fewer heads.
    """
    if branches is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    output, _ = sdpa_attention_forward(
        module,
        _at(query, branches.queries),
        _at(key, branches.keys),
        _at(value, branches.keys),
        branches.mask,
        **options | {"is_causal": False},
    )
    return output.flatten(0, 1).index_select(0, branches.order)[None], None


def _at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return a row's states, (1, heads, tokens, size), as (branches, heads, places, size)."""
    rows = states[0].transpose(0, 1).index_select(0, places.flatten())
    return rows.unflatten(0, places.shape).transpose(1, 2)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_trees(
    model: "PreTrainedModel", parameters: list[torch.nn.Parameter], lengths: Iterable[int]
) -> tuple[str | None, "Check | None"]:
    """Switch a model to `tree_attention`, if it then computes trees correctly.

    It computes other rows as before. A model that fails the check is not changed.

    Parameters
    ----------
    parameters
        Those whose gradients are compared.
    lengths
        Of all sequences; read only if attention slides over a window.

    Returns
    -------
    The reason why it failed, or None; and the comparison, if there was one.
    """
    window = _window(model.config.get_text_config())
    # The mask of a branch replaces the window.
    if window and (longest := max(lengths)) > window:
        return f"attention slides over {window} tokens, and the longest row has {longest}", None
    before = model.config._attn_implementation
    check: Check | None = None
    reason: str | None
    try:
        model.set_attn_implementation(NAME)
        check = check_sharing(model, parameters)
        reason = None if check.passed else check.reason()
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = f"the model does not support prefix trees ({type(error).__name__}: {error})"
    if reason:
        model.set_attn_implementation(before)
    for parameter in parameters:
        parameter.grad = None
    return reason, check


def _window(config: "PreTrainedConfig") -> int | None:
    """Return the size of a model's sliding window in tokens, or None if it has none."""
    slides = getattr(config, "use_sliding_window", True)
    return getattr(config, "sliding_window", None) if slides else None


def logits_at(model: "PreTrainedModel", tree: Tree, wanted: torch.Tensor) -> torch.Tensor:
    """Return a model's logits at some places of a tree, shape (*wanted.shape, vocabulary).

    Only these places are projected onto the vocabulary, each of them once.

    Parameters
    ----------
    wanted
        Places, of any shape, on the CPU.
    """
    device = model.device
    places, order = wanted.unique(return_inverse=True)
    with _projected(model.get_output_embeddings(), places.to(device)):
        logits = model(**tree.inputs(device), use_cache=False).logits
    return logits[order.to(device)]


@contextmanager
def _projected(head: torch.nn.Module, places: torch.Tensor) -> Iterator[None]:
    """Let a model's head project the hidden states at some places only, shape (1, places, size).

    A hook, so that the model's own steps around its head, such as scaling, are kept.
    """

    def gather(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][0].index_select(0, places), *inputs[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Check:
    """The distance of pairs laid out as a tree from the same pairs in rows of their own."""

    logps: float
    """Root mean square difference of the tokens' log-probs, in nats."""
    logps_unbranched: float
    """The same with branches ignored."""
    gradient: float
    """Norm of the difference of the gradients over the norm of the gradient; 0 without one."""
    gradient_unbranched: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Return True if the model uses branches correctly; False for NaN."""
        logps = self.logps <= self.allowed * self.logps_unbranched
        return logps and self.gradient <= self.allowed * self.gradient_unbranched

    def reason(self) -> str:
        """Return what is wrong with a model that did not pass."""
        return (
            "the model does not attend to prefix trees correctly: log-probs are "
            f"{self.logps:.3g} nats from those of separate rows, and {self.logps_unbranched:.3g} "
            f"with trees ignored; gradients {self.gradient:.3g} and "
            f"{self.gradient_unbranched:.3g} of their norm"
        )


def check_sharing(model: "PreTrainedModel", parameters: list[torch.nn.Parameter]) -> Check:
    """Return how a model, in its current mode, computes two pairs laid out as a tree.

    The two prompts share a beginning, and the second pair's completions do too. The random state
    stays as it was.

    Parameters
    ----------
    parameters
        Those whose gradients are compared; the gradients stay set. Without parameters, only
        log-probs are compared, and no graph is built.
    """
    prompts, sequences = _two_pairs(model.get_input_embeddings().weight.shape[0])
    tree = shared([sequences[:2], sequences[2:]])
    found = {}
    gpus = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), torch.set_grad_enabled(bool(parameters)):
        for name, logits in (
            ("separate", lambda: _separate(model, sequences)),
            ("shared", lambda: _along(model, tree, tree.inputs(model.device))),
            ("unbranched", lambda: _along(model, tree, _unbranched(tree, model.device))),
        ):
            logps = _logps(logits(), sequences, prompts)
            found[name] = (logps.detach(), _gradient(logps, parameters))
    logps = {name: logps for name, (logps, _) in found.items()}
    gradients = {name: gradient for name, (_, gradient) in found.items()}
    allowed = ALLOWED_FLOAT32 if model.dtype == torch.float32 else ALLOWED_16_BIT
    size = float(gradients["separate"].norm()) or 1.0

    def apart(name: str) -> tuple[float, float]:
        difference = (logps[name] - logps["separate"]).square().mean().sqrt()
        turned = (gradients[name] - gradients["separate"]).norm()
        return float(difference), float(turned) / size

    (tree_apart, turned), (unbranched, unbranched_turned) = apart("shared"), apart("unbranched")
    return Check(tree_apart, unbranched, turned, unbranched_turned, allowed)


def _two_pairs(vocabulary: int) -> tuple[list[int], list[Sequence]]:
    """Return the lengths of four prompts, and sequences of equal length: they need no padding."""
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> Sequence:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    beginning = tokens(6)
    one, other = beginning + tokens(6), beginning + tokens(4)
    common = tokens(3)
    sequences = [one + tokens(8), one + tokens(8)]
    sequences += [other + common + tokens(7), other + common + tokens(7)]
    return [len(one), len(one), len(other), len(other)], sequences


def _separate(model: "PreTrainedModel", sequences: list[Sequence]) -> torch.Tensor:
    """Return the logits of rows, shape (sequences, tokens, vocabulary)."""
    ids = torch.tensor(sequences, device=model.device)
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits


def _along(model: "PreTrainedModel", tree: Tree, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the same of sequences in a tree."""
    logits = model(**inputs, use_cache=False).logits
    return logits[0][torch.tensor(tree.places, device=logits.device)]


def _unbranched(tree: Tree, device: torch.device) -> dict[str, Any]:
    """Return a tree's inputs without branches, as a model that ignores them sees it."""
    return {name: value for name, value in tree.inputs(device).items() if name != "branches"}


def _logps(logits: torch.Tensor, sequences: list[Sequence], prompts: list[int]) -> torch.Tensor:
    """Return the log-probs of all completion tokens, shape (tokens,), float32."""
    ids = torch.tensor(sequences, device=logits.device)
    logps = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return torch.cat([row[prompt - 1 :] for row, prompt in zip(logps, prompts, strict=True)])


def _gradient(logps: torch.Tensor, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """Return the flat gradient of a sum of log-probs, each token with another weight."""
    if not parameters:
        return logps.new_zeros(1)
    for parameter in parameters:
        parameter.grad = None
    weights = torch.linspace(-1, 1, len(logps), device=logps.device)
    (logps * weights).sum().backward()
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters]
    )

"""Attention over prefix trees, and a check that a model computes them correctly.

The attention is transformers' own, `sdpa`. A model selects it by name. But some models have their
own attention, and silently ignore arguments that they do not know, always or only in training. So
no model is trusted: `check_sharing` compares, on the model at hand, pairs laid out as a tree with
the same pairs in rows of their own.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from scripts.lm.prefix_tree import Batch, Branches, Sequence, Tree, shared

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NAME = "prefix_tree"

Projection = Callable[[torch.Tensor], torch.Tensor]
"""From hidden states to logits."""
Computed = TypeVar("Computed")

ALLOWED_FLOAT32, ALLOWED_16_BIT = 1e-3, 0.2
"""How far shared log-probs and gradients may be from separate ones, as a share of the distance of
those with branches ignored, which is 1. Rounding gave 1e-6 and 4e-3: Llamas and Qwen2s of 3 layers;
0.09 in bfloat16 on a CPU: SmolLM2-135M, of 30 layers."""


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    branches: Branches | Batch | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return attention's output, shape (rows, tokens, heads, size).

    Without branches, it is that of `sdpa`, to rounding. With them there is one row. They are
    computed one by one, without padding, or as a batch; on a CPU in float32.

    Parameters
    ----------
    query, key, value
        Shape (rows, heads, tokens, size); keys and values may have fewer heads.
    """
    if branches is None:
        if query.shape[2] == 1 and query.device.type == "cpu" and not module.training:
            scaling = options.get("scaling")
            return _of_one_token(query, key, value, attention_mask, scaling), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if query.device.type == "cpu" and query.dtype != torch.float32:
        # There `sdpa` takes half as long in float32, because of its backward pass. Autocast, which
        # would cast back, is off.
        with torch.autocast("cpu", enabled=False):
            output, _ = tree_attention(
                module, query.float(), key.float(), value.float(), None, branches, **options
            )
        return output.to(query.dtype), None
    if isinstance(branches, Batch):
        attend = partial(sdpa_attention_forward, module, **options | {"is_causal": False})
        return _as_batch(attend, query, key, value, branches), None
    attend = partial(
        scaled_dot_product_attention,
        dropout_p=options.get("dropout", 0.0),
        scale=options.get("scaling"),
        enable_gqa=key.shape[1] < query.shape[1],
    )
    return _one_by_one(attend, query, key, value, branches), None


def _of_one_token(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
) -> torch.Tensor:
    """Return attention's output for rows of one token, which an answer grows by.

    Heads that share keys become queries of one head. As heads, each needs a copy of the keys.
    """
    rows, heads, _, size = query.shape
    folded = query.view(rows, key.shape[1], -1, size)
    output = scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(rows, 1, heads, size)


def _one_by_one(
    attend: Callable[..., torch.Tensor],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    branches: Branches,
) -> torch.Tensor:
    lengths = list(map(len, branches.paths))
    if not branches.alone:
        places = torch.cat(branches.paths)
        key, value = _at(key, places[None]), _at(value, places[None])
    states = (query.split(branches.counts, 2), key.split(lengths, 2), value.split(lengths, 2))
    outputs = []
    for own, keys, values in zip(*states, strict=True):
        tokens, length = own.shape[2], keys.shape[2]
        mask = None
        if tokens < length:
            mask = own.new_ones(tokens, length, dtype=torch.bool).tril(length - tokens)
        outputs.append(attend(own, keys, values, attn_mask=mask, is_causal=mask is None))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _as_batch(
    attend: Callable[..., tuple[torch.Tensor, None]],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    batch: Batch,
) -> torch.Tensor:
    output, _ = attend(
        _at(query, batch.queries), _at(key, batch.keys), _at(value, batch.keys), batch.mask
    )
    return output.flatten(0, 1).index_select(0, batch.order)[None]


def _at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return a row's states, (1, heads, tokens, size), as (branches, heads, places, size)."""
    rows = states[0].transpose(0, 1).index_select(0, places.flatten())
    return rows.unflatten(0, places.shape).transpose(1, 2)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_trees(
    model: "PreTrainedModel",
    parameters: list[torch.nn.Parameter],
    lengths: Iterable[int],
    lay_out: Callable[[list[Sequence]], Tree] = shared,
) -> tuple[str | None, "Check | None"]:
    """Switch a model to `tree_attention`, if it then computes trees correctly.

    It computes other rows as before. A model that fails the check is not changed.

    Parameters
    ----------
    parameters
        Those whose gradients are compared.
    lengths
        Of all sequences; read only if attention slides over a window.
    lay_out
        Returns sequences in one row.

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
        check = check_sharing(model, parameters, lay_out)
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
    places = places.to(device)
    # A hook, so that the model's own steps around its head, such as scaling, are kept.
    with before_head(model, lambda _, states: states[0].index_select(0, places)):
        logits = model(**tree.inputs(device), use_cache=False).logits
    return logits[order.to(device)]


def states_at(
    model: "PreTrainedModel",
    tree: Tree,
    places: torch.Tensor,
    compute: Callable[[Projection, torch.Tensor], Computed],
) -> Computed:
    """Return what `compute` makes of a model's head and the hidden states at some places of a tree.

    For what would need too much memory as logits. It runs where the head would, in the same
    precision. The states have the shape (places, size).
    """
    found = []

    def take(head: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
        found.append(compute(head.forward, states[0].index_select(0, places.to(states.device))))
        return states[:, :0]

    with before_head(model, take):
        model(**tree.inputs(model.device), use_cache=False)
    return found[0]


@contextmanager
def before_head(
    model: "PreTrainedModel", change: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Let a model's head project what `change` returns, given the head and its input."""
    handle = model.get_output_embeddings().register_forward_pre_hook(
        lambda head, inputs: (change(head, inputs[0]), *inputs[1:])
    )
    try:
        yield
    finally:
        handle.remove()


def ends_with_head(model: "PreTrainedModel") -> bool:
    """Return True if a model's logits are what its head returns, neither scaled nor cut off.

    The random state stays as it was.
    """
    outputs = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda head, inputs, output: outputs.append(output)
    )
    ids = torch.zeros(1, 2, dtype=torch.int64, device=model.device)
    try:
        with _random_state_kept(model), torch.no_grad():
            logits = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).logits
    finally:
        handle.remove()
    return len(outputs) == 1 and torch.equal(outputs[0].float(), logits.float())


def _random_state_kept(model: "PreTrainedModel") -> AbstractContextManager[None]:
    return torch.random.fork_rng([model.device] if model.device.type == "cuda" else [])


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


def check_sharing(
    model: "PreTrainedModel",
    parameters: list[torch.nn.Parameter],
    lay_out: Callable[[list[Sequence]], Tree] = shared,
) -> Check:
    """Return how a model, in its current mode, computes two pairs laid out as a tree.

    The two prompts share a beginning, and the second pair's completions do too. The random state
    stays as it was.

    Parameters
    ----------
    parameters
        Those whose gradients are compared; the gradients stay set. Without parameters, only
        log-probs are compared, and no graph is built.
    lay_out
        As in `attend_trees`.
    """
    prompts, sequences = _two_pairs(model.get_input_embeddings().weight.shape[0])
    tree = lay_out(sequences)
    found = {}
    with _random_state_kept(model), torch.set_grad_enabled(bool(parameters)):
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

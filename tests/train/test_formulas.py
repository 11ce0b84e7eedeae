"""Losses and gradients of preference methods are those of their papers' formulas.

Log-probs are computed here with transformers alone, one sequence at a time.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid

from scripts.common.files import Row
from tests.train.stock import Run, adapted, base, our_run, pairs, single_rows, trial

BETA, ALPHA, SMOOTHING, GAMMA = 0.5, 0.7, 0.1, 0.3
Side = list[torch.Tensor]
"""For each pair, the log-probs of a side's tokens from the prompt's second token on, and where the
completion begins."""


def token_logps(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Return the log-prob of each token but the first."""
    ids = torch.tensor([prompt + completion])
    logps = model(ids).logits[0, :-1].double().log_softmax(-1)
    return logps.gather(1, ids[0, 1:, None])[:, 0]


def completions(sides: Side, rows: list[Row]) -> Side:
    return [logps[len(row["prompt_ids"]) - 1 :] for logps, row in zip(sides, rows, strict=True)]


def orpo(rows: list[Row], chosen: Side, rejected: Side) -> torch.Tensor:
    """Hong et al. 2024, https://arxiv.org/abs/2403.07691, equations 4 to 6, with mean log-probs;
    the likelihood is of prompt and completion, as in TRL."""
    likelihood = torch.cat(chosen).mean()
    won, lost = (
        torch.stack([it.mean() for it in completions(side, rows)]) for side in (chosen, rejected)
    )
    odds = (won - torch.log1p(-won.exp())) - (lost - torch.log1p(-lost.exp()))
    return -likelihood - BETA * logsigmoid(odds).mean()


def cpo(rows: list[Row], chosen: Side, rejected: Side) -> torch.Tensor:
    """Xu et al. 2024, https://arxiv.org/abs/2401.08417, equation 3 and the likelihood term, labels
    smoothed as in conservative DPO; the likelihood is a mean over a batch's tokens."""
    won, lost = (
        torch.stack([it.sum() for it in completions(side, rows)]) for side in (chosen, rejected)
    )
    margin = BETA * (won - lost)
    preference = (1 - SMOOTHING) * logsigmoid(margin) + SMOOTHING * logsigmoid(-margin)
    return -preference.mean() - ALPHA * torch.cat(completions(chosen, rows)).mean()


def simpo(rows: list[Row], chosen: Side, rejected: Side) -> torch.Tensor:
    """Meng et al. 2024, https://arxiv.org/abs/2405.14734, equation 6."""
    won, lost = (
        torch.stack([it.mean() for it in completions(side, rows)]) for side in (chosen, rejected)
    )
    return -logsigmoid(BETA * (won - lost) - GAMMA).mean()


DESCENT = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant",
           "warmup_steps": 0, "max_steps": 1, "max_grad_norm": 1e9}  # fmt: skip
"""One step of plain gradient descent with a learning rate of 1 subtracts the gradient."""


def assert_learned(run: Run, layout: str, model: Any, loss: torch.Tensor) -> None:
    """Check the layout, loss and gradient of a run of one step from a model."""
    assert run.layout is not None
    assert run.layout.ran == layout
    assert run.losses[0] == pytest.approx(loss.item(), abs=2e-5)
    loss.backward()
    trained = {name: it for name, it in model.named_parameters() if it.requires_grad}
    assert trained.keys() == run.adapter.keys()
    for name, weight in trained.items():
        assert weight.grad is not None
        moved = weight.detach() - run.adapter[name]
        assert (moved - weight.grad).norm() <= 1e-4 * weight.grad.norm() + 1e-6


@pytest.mark.parametrize("layout", ["shared", "stock"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (orpo, {}),
        (cpo, {"cpo_alpha": ALPHA, "label_smoothing": SMOOTHING}),
        (simpo, {"simpo_gamma": GAMMA}),
    ],
)
def test_loss_and_gradient_are_those_of_the_formula(
    formula: Callable[..., torch.Tensor], options: dict[str, Any], layout: str
) -> None:
    settings = trial(formula.__name__, "6x1", beta=BETA, **DESCENT, **options) | {"layout": layout}
    run = our_run(settings, "qwen2", True)
    sequences = {tuple(row["prompt_ids"] + row["chosen_ids"]): row for row in pairs()}
    rows = [sequences[chosen] for chosen in run.steps[0][:6]]

    model = adapted(base("qwen2", True), settings).train()
    chosen, rejected = (
        [token_logps(model, row["prompt_ids"], row[f"{side}_ids"]) for row in rows]
        for side in ("chosen", "rejected")
    )
    assert_learned(run, layout, model, formula(rows, chosen, rejected))


@pytest.mark.parametrize("layout", ["shared", "stock"])
def test_loss_and_gradient_of_kto_are_those_of_its_formula(layout: str) -> None:
    """Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306, equation 7, less its constant."""
    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.8}
    settings = trial("kto", "6x1", beta=BETA, **DESCENT, **weights) | {"layout": layout}
    # The policy is not its reference: without it, log-ratios and divergence are 0.
    settings["lora"]["init_lora_weights"] = False
    run = our_run(settings | {"start_as": "overwritten"}, "qwen2", True)
    rows = single_rows(settings)[:6]
    assert run.steps[0] == [tuple(row["prompt_ids"] + row["completion_ids"]) for row in rows]

    model = adapted(base("qwen2", True), settings).train()

    def log_ratios(completion: str) -> torch.Tensor:
        def logps() -> torch.Tensor:
            of_tokens = [token_logps(model, row["prompt_ids"], row[completion]) for row in rows]
            return torch.stack([it.sum() for it in completions(of_tokens, rows)])

        with torch.no_grad(), model.disable_adapter():
            reference = logps()
        return logps() - reference

    divergence = log_ratios("partner_ids").mean().clamp(min=0).detach()
    good = torch.tensor([row["label"] for row in rows])
    assert 0 < good.sum() < 6
    gains = BETA * (log_ratios("completion_ids") - divergence)
    values = torch.where(good, 1.3 * (1 - gains.sigmoid()), 0.8 * (1 - (-gains).sigmoid()))
    assert_learned(run, layout, model, values.mean())

"""The schema's word on objectives against TRL's own code."""

from typing import get_args

import pytest

from scripts.config.trials import DpoTrial, LossType
from tests.config.trl_loss import trl_loss

TRAINER = DpoTrial(name="d").model_dump() | {"label_smoothing": 0.1}
OTHER = {
    "beta": 0.3,
    "label_smoothing": 0.2,
    "ld_alpha": 0.5,
    "f_divergence_type": "forward_kl",
    "discopop_tau": 0.5,
}


@pytest.mark.parametrize("option", DpoTrial.EFFECTS)
def test_an_option_has_effect_on_the_objectives_that_the_schema_names(option: str) -> None:
    def loss(objective: str, value: object) -> float:
        return trl_loss(TRAINER | {"loss_type": [objective], option: value}, moved=1.0)

    moved = {
        objective
        for objective in get_args(LossType)
        if loss(objective, TRAINER[option]) != loss(objective, OTHER[option])
    }
    assert moved == set(DpoTrial.EFFECTS[option])


def test_the_coefficient_of_alpha_divergence_has_effect_there_alone() -> None:
    def loss(divergence: str, coefficient: float) -> float:
        own = {"f_divergence_type": divergence, "f_alpha_divergence_coef": coefficient}
        return trl_loss(TRAINER | own, moved=1.0)

    assert loss("alpha_divergence", 0.5) != loss("alpha_divergence", 0.7)
    for other in ("reverse_kl", "forward_kl", "js_divergence"):
        assert loss(other, 0.5) == loss(other, 0.7)


def test_weights_and_wpo_have_effect() -> None:
    mixture = TRAINER | {"loss_type": ["sigmoid", "sft"]}
    plain, half = (
        trl_loss(mixture | {"loss_weights": weights}, moved=1.0) for weights in (None, [1.0, 0.5])
    )
    sft = trl_loss(TRAINER | {"loss_type": ["sft"]}, moved=1.0)
    assert plain - half == pytest.approx(0.5 * sft)
    weighed = trl_loss(TRAINER | {"use_weighting": True}, moved=1.0)
    assert weighed != trl_loss(TRAINER, moved=1.0)


def test_trl_weighs_no_sft_loss_of_two_pairs() -> None:
    """Once it does, the schema need not refuse it."""
    with pytest.raises(RuntimeError, match="single memory location"):
        trl_loss(TRAINER | {"loss_type": ["sft"], "use_weighting": True}, moved=1.0)

"""Train one preference trial by SimPO: TRL's CPOTrainer on tokens, with that loss alone."""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.simpo")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from trl.experimental.cpo import CPOConfig

from scripts.common.files import Row
from scripts.train.cpo import TokenCPOTrainer


class TokenSimPOTrainer(TokenCPOTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids."""

    method = "simple preference optimization"

    @classmethod
    def make_config(cls, arguments: Row) -> CPOConfig:
        """Return TRL's configuration; its default cpo_alpha would add a likelihood term."""
        return super().make_config(arguments | {"loss_type": "simpo", "cpo_alpha": 0.0})


TRAINER = TokenSimPOTrainer

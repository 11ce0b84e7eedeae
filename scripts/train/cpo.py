"""Train one preference trial by CPO: TRL's CPOTrainer on tokens, without a reference."""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.cpo")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from trl.experimental.cpo import CPOConfig, CPOTrainer

from scripts.common.files import Row
from scripts.train.pairs import ReferenceFreeTrainer


class TokenCPOTrainer(ReferenceFreeTrainer, CPOTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids."""

    method = "contrastive preference optimization"

    @classmethod
    def make_config(cls, arguments: Row) -> CPOConfig:
        """Return TRL's configuration."""
        return CPOConfig(**cls.config_of(arguments))


TRAINER = TokenCPOTrainer

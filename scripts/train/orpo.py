"""Train one preference trial by ORPO: TRL's ORPOTrainer on tokens, without a reference."""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.orpo")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from scripts.common.files import Row
from scripts.train.pairs import ReferenceFreeTrainer


class TokenORPOTrainer(ReferenceFreeTrainer, ORPOTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids.

    TRL's likelihood term counts the prompt's tokens of chosen sequences, too, where the paper's
    counts the completion's only (docs/methods.md).
    """

    method = "odds ratio preference optimization"
    scores_prompts = True

    @classmethod
    def make_config(cls, arguments: Row) -> ORPOConfig:
        """Return TRL's configuration."""
        return ORPOConfig(**cls.config_of(arguments))


TRAINER = TokenORPOTrainer

"""Train one supervised trial: TRL's SFTTrainer on token splits, with rows packed, not padded."""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.sft")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from typing import Any

import torch
from datasets import Dataset
from torch.autograd.function import FunctionCtx
from torch.nn.functional import nll_loss
from transformers.modeling_outputs import CausalLMOutput
from trl import SFTConfig, SFTTrainer

from scripts.common.files import Row
from scripts.lm.tree_attention import Projection, ends_with_head, states_at
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer

IGNORED = -100
"""The label of a token that the loss ignores."""

CHUNK = 128
"""Tokens whose logits are in memory at a time. TRL's loss has 256; with a vocabulary of 49,152,
half of that is faster on a CPU, because more of it stays in the cache."""

CPU_PASS = 1024
"""Tokens of a pass on a CPU, which computes longer ones no faster."""


class TokenSFTTrainer(LaidOutTrainer, SFTTrainer):
    """Takes input_ids and labels.

    In the shared layout, the sequences of a pass stand one behind the other, each attending only
    to itself, and only positions that predict a token of the loss are projected onto the
    vocabulary. The loss is a sum over a step's tokens, so the rows of a batch may be in several
    passes.
    """

    method = "supervised fine-tuning"
    shares = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.predicted: list[list[torch.Tensor]] = []
        """Of the passes of a step so far, whether each token was the likeliest, and the entropy."""

    @classmethod
    def make_config(cls, arguments: dict[str, Any]) -> SFTConfig:
        """Return TRL's configuration."""
        arguments = arguments | {"dataset_kwargs": {"skip_prepare_dataset": True}}
        # The labels say so already.
        arguments.pop("completion_only_loss")
        return SFTConfig(**arguments)

    @classmethod
    def make_dataset(
        cls, trial: dict[str, Any], rows: list[Row], reference: list[Row] | None = None
    ) -> Dataset:
        """Return the columns input_ids and labels of token rows."""
        only = trial["trainer"]["completion_only_loss"]
        return Dataset.from_list([labelled(row, only) for row in rows])

    def divided(self, batches: list[Batch]) -> list[Batch]:
        """Return each row of the batches as a batch."""
        return [
            {name: column[row : row + 1] for name, column in batch.items()}
            for batch in batches
            for row in range(len(batch["input_ids"]))
        ]

    def most_tokens(self, batches: list[Batch]) -> float:
        """Return how many tokens a pass of several rows may have."""
        most = super().most_tokens(batches)
        return min(most, CPU_PASS) if self.args.device.type == "cpu" else most

    def _unfit(self) -> str | None:
        """Return why a step's loss would not be the sum of its rows' losses, or None."""
        if not self.model_accepts_loss_kwargs:
            return "the model's loss is a mean over each batch, not over the tokens of a step"
        if any(it.requires_grad for it in self.model.get_output_embeddings().parameters()):
            return "the head is trained, too, of which packed rows compute no gradient"
        return super()._unfit()

    def _unproven(self) -> str | None:
        """Return how the model differs from what is computed here, or None where it does not."""
        if not ends_with_head(self.model_wrapped.train()):
            return "the model changes the logits that its head returns"
        return super()._unproven()

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """Return the loss of a batch or step, and store a step's metrics."""
        loss = super().training_step(model, inputs, *rest)
        if inputs.get(BATCHES):
            self._store_metrics(inputs[BATCHES])
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return TRL's loss: the mean over the tokens of a step, or of an evaluation's batch."""
        if self.layout.ran == "stock":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        tree, places = self.lay_out(batches)
        wanted, targets = predictions(batches, places)
        targets = targets.to(model.device)
        total, *metrics = states_at(
            model, tree, wanted, lambda project, states: _Loss.apply(states, targets, project)
        )
        self.predicted.append(metrics)
        loss = total / (max(len(targets), 1) if num_items_in_batch is None else num_items_in_batch)
        if not model.training:
            self._store_metrics(batches)
        return (loss, CausalLMOutput(loss=loss)) if return_outputs else loss

    def _store_metrics(self, batches: list[Batch]) -> None:
        """Store TRL's metrics of stock batches whose rows all went through a pass, in order."""
        mode = "train" if self.model.training else "eval"
        counts = [int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches]
        likeliest, entropy = map(torch.cat, zip(*self.predicted, strict=True))
        self.predicted = []
        for name, tokens in (("mean_token_accuracy", likeliest), ("entropy", entropy)):
            means = [float(of.sum()) / max(len(of), 1) for of in tokens.split(counts)]
            self._metrics[mode][name] += means
        if mode == "train":
            self._total_train_tokens += sum(int(it["attention_mask"].sum()) for it in batches)
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]


TRAINER = TokenSFTTrainer


def labelled(row: Row, completion_only: bool) -> Row:
    """Return a token row as input ids and labels.

    Labels are given ready-made, because the trainer ignores a completion mask on tokens unless it
    is told about it twice.
    """
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    # Of a conversation, earlier answers are completions as well.
    answers = row.get("prompt_scored", [False] * len(prompt))
    head = [
        token if answer or not completion_only else IGNORED
        for token, answer in zip(prompt, answers, strict=True)
    ]
    return {"input_ids": prompt + completion, "labels": head + completion}


def predictions(
    batches: list[Batch], places: list[list[list[int]]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places that predict a token of the loss, and these tokens, int64, on the CPU.

    Parameters
    ----------
    places
        For each sequence of each batch, the places of its tokens.
    """
    wanted, targets = [], []
    for batch, paths in zip(batches, places, strict=True):
        for labels, path in zip(batch["labels"].cpu(), paths, strict=True):
            following = labels[1 : len(path)]
            counted = following != IGNORED
            wanted.append(torch.tensor(path[:-1], dtype=torch.int64)[counted])
            targets.append(following[counted])
    return torch.cat(wanted), torch.cat(targets)


class _Loss(torch.autograd.Function):
    """The summed negative log-prob of tokens, and TRL's metrics of each of them.

    The gradient is computed at once, chunk by chunk, so that no logits are kept for the backward
    pass or computed again: Hsu et al. 2024, https://arxiv.org/abs/2410.10989, section 3.2.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, states: torch.Tensor, targets: torch.Tensor, project: Projection
    ) -> tuple[torch.Tensor, ...]:
        """Return the loss; and for each token if it is the likeliest, and the entropy in nats.

        Parameters
        ----------
        states
            Shape (tokens, size).
        targets
            Shape (tokens,).
        """
        gradient = torch.zeros_like(states) if ctx.needs_input_grad[0] else None
        loss = torch.zeros((), device=states.device)
        likeliest, entropy = torch.zeros_like(targets), torch.zeros(len(targets)).to(states.device)
        for part in range(0, len(targets), CHUNK):
            held = slice(part, part + CHUNK)
            with torch.set_grad_enabled(gradient is not None):
                state = states[held].detach().requires_grad_(gradient is not None)
                logps = project(state).float().log_softmax(-1)
                part_loss = nll_loss(logps, targets[held], reduction="sum")
            if gradient is not None:
                gradient[held] = torch.autograd.grad(part_loss, state)[0]
            logps = logps.detach()
            loss += part_loss.detach()
            likeliest[held] = logps.argmax(-1) == targets[held]
            entropy[held] = -(logps.exp() * logps).sum(-1)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(likeliest, entropy)
        return loss, likeliest, entropy

    @staticmethod
    def backward(ctx: Any, loss: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the states."""
        (gradient,) = ctx.saved_tensors
        # In float32: a scaled loss may be more than float16 holds.
        return (gradient.float() * loss).to(gradient.dtype), None, None

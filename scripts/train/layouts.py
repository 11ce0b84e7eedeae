"""How a trainer lays out its batches: as the stock trainer does, or with nothing computed twice.

Rows, batches and steps are the stock trainer's either way: its sampler draws them, its collator
pads them, and every row's loss has the weight that it has there. Only the forward pass changes. It
takes as many of a step's batches, in their order, as need no more memory than the largest of them
needs padded, and lays them out again. Where a loss is a sum over rows, batches may be divided too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from peft.optimizers import create_loraplus_optimizer

from scripts.common.cli import BadInput
from scripts.common.files import Row
from scripts.lm.lora import fuse_lora
from scripts.lm.prefix_tree import Sequence, Tree, fewest_tokens, packed, shared
from scripts.lm.tree_attention import NAME, attend_trees
from scripts.train.checkpoints import ResumableTrainer
from scripts.train.processes import all_of, is_first

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, TrainingArguments

Batch = dict[str, torch.Tensor]

MOST = 0.9
"""Tokens of a pass over those of the largest padded batch. Less than 1, because attention copies
what branches share: with 1.0, pairs of dialogues took 4 % more memory than padded."""

BATCHES = "batches"
"""The key of a step's and of a pass's inputs: the stock batches that they hold."""


@dataclass
class Layout:
    """Which layout was asked for, which ran and why, and how many tokens its steps took."""

    asked: str
    ran: str = "stock"
    reason: str | None = None
    check: dict[str, float] | None = None
    processed_tokens: int = 0
    """Of all training passes."""
    fewest_tokens: int = 0
    """The tokens of each step's prefix tree: one pass without padding."""
    stock_tokens: int = 0
    """Those of the stock layout, padding included."""


def sum_tokens(layouts: list[Layout]) -> Layout:
    """Return the layout of a training by several processes, with the tokens of all."""
    counts = ("processed_tokens", "fewest_tokens", "stock_tokens")
    return replace(
        layouts[0], **{name: sum(getattr(it, name) for it in layouts) for name in counts}
    )


class LaidOutTrainer(ResumableTrainer):
    """Chooses its layout when its model is ready to train; mixed into one of TRL's trainers.

    A method is a subclass. It says what TRL's configuration and its dataset are, and whether
    sequences share tokens.
    """

    method: ClassVar[str]
    """Its name in a sentence, for the model card."""
    shares: ClassVar[bool] = True
    """Whether sequences share tokens, and with them whatever dropout draws there."""
    reward_scale: float | None = None
    """By which logged rewards are divided to get log-ratios to a reference; None: there is none."""

    def __init__(self, *args: Any, trial: Row, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.layout = Layout(trial["layout"])
        self._ratio = trial["lora"].get("loraplus_lr_ratio", 1.0)
        self.gradient: float | None = None
        """The norm of the last step's gradient."""
        self._step: list[Batch] = []

    @classmethod
    def make_config(cls, arguments: Row) -> "TrainingArguments":
        """Return TRL's configuration, given the arguments that all methods share."""
        raise NotImplementedError

    @classmethod
    def make_dataset(
        cls, trial: Row, rows: list[Row], reference: list[Row] | None = None
    ) -> "Dataset":
        """Return the dataset that the trainer takes, of token rows and a reference's log-probs."""
        raise NotImplementedError

    def create_optimizer(self, model: "PreTrainedModel | None" = None) -> torch.optim.Optimizer:
        """Return the optimizer, which learns B and A at rates of their own under LoRA+.

        Hayou et al. 2024, https://arxiv.org/abs/2402.12354.
        """
        if self._ratio != 1:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
                self.model, kind, loraplus_lr_ratio=self._ratio,
                loraplus_weight_decay=self.args.weight_decay, **options,
            )  # fmt: skip
        return super().create_optimizer(model)

    def findings(self) -> Row:
        """Return what the method adds to train.json."""
        return {}

    def begin(self) -> None:
        """Decide the layout. Not earlier: train() wraps the model and turns on checkpointing.

        A resumed training keeps its layout, which was decided on weights not yet trained.
        """
        super().begin()
        if not self.resumed:
            self.decide_layout()
        elif self.layout.ran == "shared":
            self.model_wrapped.set_attn_implementation(NAME)
        if self.layout.ran == "shared":
            fuse_lora(self.model)

    def sequences_of(self, batch: Batch) -> list[Sequence]:
        """Return a padded batch's token sequences, as far as a pass has to compute them."""
        lengths = batch["attention_mask"].sum(1).tolist()
        ids = batch["input_ids"].tolist()
        return [row[:length] for row, length in zip(ids, lengths, strict=True)]

    def computed(self, batch: Batch) -> list[Batch]:
        """Return a padded batch, and with it what else its loss computes without a gradient."""
        return [batch]

    def divided(self, batches: list[Batch]) -> list[Batch]:
        """Return the batches of a step, or parts of them, that may be in different passes.

        Whole ones by default: a loss may look across a batch, or be its mean.
        """
        return batches

    def fewest_tokens(self, sequences: list[Sequence]) -> int:
        """Return how few tokens the sequences take in one row."""
        return fewest_tokens(sequences) if self.shares else sum(map(len, sequences))

    def decide_layout(self) -> None:
        """Decide which layout runs.

        Raises
        ------
        BadInput
            When `shared` is asked for and is not possible.
        """
        layout = self.layout
        if layout.asked == "stock":
            return
        layout.reason = self._unfit() or self._unproven()
        if layout.reason is None:
            layout.ran = "shared"
        elif layout.asked == "shared":
            raise BadInput(f"layout: found shared, but {layout.reason}; auto or stock is allowed")
        elif is_first():
            print(f"layout: stock, because {layout.reason}", file=sys.stderr)

    def state_dict(self) -> Row:
        """Return what a resumed trainer needs, the layout included."""
        return super().state_dict() | {"layout": asdict(self.layout)}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.layout = Layout(**state_dict["layout"])

    def _unfit(self) -> str | None:
        """Return why the shared layout would not give the stock layout's numbers, or None."""
        if self.shares and (dropout := active_dropout(self.model)):
            return f"dropout is active ({dropout}), and would be drawn once for what is shared"
        if self.args.world_size > 1:
            return "several processes train, whose passes could differ in number"
        if self.aux_loss_enabled:
            return "the experts' balancing loss counts tokens as often as they are computed"
        return None

    def _unproven(self) -> str | None:
        """Return how trees differ from separate rows in this model, or None where they do not.

        Dropout is off for the comparison, since it draws other masks each time.
        """
        model = self.model_wrapped
        model.train()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        with self.compute_loss_context_manager(), _without_dropout(model):
            reason, check = attend_trees(model, trained, self._lengths(), self.tree_of)
        self.layout.check = asdict(check) if check else None
        return reason

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Return a step's inputs, as many as the stock trainer's, and its number of loss tokens.

        In the shared layout the last input holds all batches and the others none, so that the
        trainer's count of batches does not change.
        """
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step = batches
        parts = [part for batch in batches for part in self.computed(batch)]
        sequences = [sequence for part in parts for sequence in self.sequences_of(part)]
        padded = sum(part["input_ids"].numel() for part in parts)
        self.layout.stock_tokens += padded
        self.layout.fewest_tokens += self.fewest_tokens(sequences)
        if self.layout.ran == "stock":
            self.layout.processed_tokens += padded
        if self.layout.ran == "stock" or not batches:
            return batches, items
        return [*({BATCHES: []} for _ in batches[1:]), {BATCHES: batches}], items

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        self.gradient = None if norm is None else float(norm)
        return norm

    def step_rows(self, most: int) -> str:
        """Return the ids of the rows of the last step, at most so many; rows are told by tokens."""

        def told(batch: Batch) -> list[tuple[tuple[int, ...], ...]]:
            # A batch may hold several sequences of each row, one kind after the other.
            sequences = [*map(tuple, LaidOutTrainer.sequences_of(self, batch))]
            rows = len(sequences) // kinds
            return [tuple(sequences[row::rows]) for row in range(rows)]

        data = self.train_dataset
        kinds = len(self.data_collator([data[0]])["input_ids"])
        ids = data["id"] if "id" in data.column_names else map(str, range(len(data)))
        found: dict[tuple[tuple[int, ...], ...], str] = {}
        for name, row in zip(ids, data, strict=True):
            found.setdefault(told(self.data_collator([row]))[0], name)
        own = [found[row] for batch in self._step for row in told(batch)]
        names = [name for part in all_of(own) for name in part]
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return f"rows of the step: {', '.join(names[:most])}{more}"

    def most_tokens(self, batches: list[Batch]) -> float:
        """Return how many tokens a pass of a step may have, unless it has one undivided batch."""
        return MOST * max(batch["input_ids"].numel() for batch in batches)

    def _passes(self, batches: list[Batch]) -> Iterator[list[Batch]]:
        """Yield the batches of each pass of a step."""
        most = self.most_tokens(batches)
        held: list[Batch] = []
        sequences: list[Sequence] = []
        for batch in self.divided(batches):
            own = self.sequences_of(batch)
            if held and self.fewest_tokens(sequences + own) > most:
                yield held
                held, sequences = [], []
            held.append(batch)
            sequences += own
        yield held

    def training_step(
        self,
        model: "PreTrainedModel",
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch, or in the shared layout the sum of the losses of a step."""
        if BATCHES not in inputs:
            return super().training_step(model, inputs, num_items_in_batch)
        loss = torch.zeros((), device=self.args.device)
        for batches in self._passes(inputs[BATCHES]) if inputs[BATCHES] else ():
            loss += super().training_step(model, {BATCHES: batches}, num_items_in_batch)
        return loss

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Return an evaluation batch's own loss, not averaged with those of other processes."""
        across = self.args.average_tokens_across_devices
        self.args.average_tokens_across_devices = False
        try:
            return super().prediction_step(*args, **kwargs)
        finally:
            self.args.average_tokens_across_devices = across

    def tree_of(self, sequences: list[Sequence]) -> Tree:
        """Return sequences in one row."""
        return shared(sequences) if self.shares else packed(sequences)

    def lay_out(self, batches: list[Batch]) -> tuple[Tree, list[list[list[int]]]]:
        """Return the row of a pass, and for each batch the places of its sequences' tokens."""
        parts = [self.sequences_of(batch) for batch in batches]
        tree = self.tree_of([sequence for part in parts for sequence in part])
        if self.model.training:
            self.layout.processed_tokens += len(tree.ids)
        places = iter(tree.places)
        return tree, [[next(places) for _ in part] for part in parts]

    def floating_point_ops(self, inputs: dict[str, Any]) -> float:
        """Return 0: the stock count walks all parameters each time, and nothing reads it."""
        return 0.0

    def _lengths(self) -> Iterator[int]:
        """Yield the number of tokens of each sequence of all rows."""
        for data in filter(None, (self.train_dataset, self.eval_dataset)):
            for row in data:
                for part in self.computed(self.data_collator([row])):
                    yield from map(len, self.sequences_of(part))


def active_dropout(model: torch.nn.Module) -> str | None:
    """Return the name of a module with dropout while the model trains, or None."""
    return next((name for name, _, _ in _dropouts(model)), None)


def _dropouts(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str]]:
    """Yield name, module and attribute of each dropout above 0."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            yield name, module, "p"
        # Attention has a number, not a module.
        if getattr(module, "attention_dropout", 0.0):
            yield f"{name}.attention_dropout", module, "attention_dropout"


@contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Turn dropout off in a model that stays in training mode."""
    kept = [(it, attribute, getattr(it, attribute)) for _, it, attribute in _dropouts(model)]
    for module, attribute, _ in kept:
        setattr(module, attribute, 0.0)
    try:
        yield
    finally:
        for module, attribute, value in kept:
            setattr(module, attribute, value)

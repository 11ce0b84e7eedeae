"""The signs that a training goes wrong, with all their thresholds.

They are judged by what the trainer logs and by the adapter at the end, so that the same history has
the same signs. The thresholds were set before any of them was tried on test rows.
"""

from typing import Any, Literal

from scripts.common.files import Row
from scripts.common.signs import Sign

Stopper = Literal["loss_exploded", "gradients_zero", "chosen_free_fall", "valid_loss_rose"]
"""The signs that `stop_when` may name. A loss that is not finite ends every training."""

STEPS = 10
"""Steps that a sign of training rows is judged by: batches differ too much for fewer."""

_DECLARED = (
    Sign(
        name="loss_not_finite",
        holds="the loss of a step or an evaluation is infinite or not a number; training ends",
        why="Every later loss would be so too.",
    ),
    Sign(
        name="loss_exploded",
        holds=f"the mean loss of the last {STEPS} steps is more than {{times:g}} times the first "
        "step's, and more than {above:g} above it",
        why="The first step's is that of the model as it was. A hard batch may have twice that "
        "loss; ten in a row with three times as much are worse than no training at all. The "
        "difference keeps a start near 0 from counting, where three times is still little.",
        limits={"times": 3.0, "above": 1.0},
    ),
    Sign(
        name="gradients_zero",
        holds=f"the gradient's norm was exactly 0 in each of the last {STEPS} steps",
        why="Nothing is learned: no token counts in the loss, or the objective is flat here.",
    ),
    Sign(
        name="chosen_free_fall",
        holds="chosen completions are less likely than under the reference, by more than {nats:g} "
        "nats a completion and {nats_per_token:g} nats a token",
        why="A preference loss sees only the difference between chosen and rejected, and can lower "
        "both. A fall of half a nat a token makes each token of the answers that are wanted 40 % "
        "less likely, and the probability goes to text that is in no pair; the demo's trials stay "
        "within 0.2. Both limits have to be passed: long completions may lose more nats in all, "
        "and one of a few tokens may lose half a nat a token without harm.",
        limits={"nats": 5.0, "nats_per_token": 0.5},
    ),
    Sign(
        name="valid_loss_rose",
        holds="the last loss of the validation split, or that of the adapter that is kept, is more "
        "than {share:.1%} above the one before the first step",
        why="On rows that it did not train on, the model is worse than before. Rounding in "
        "bfloat16 moved the loss of 16 pairs by 0.7 %.",
        limits={"share": 0.015},
    ),
    Sign(
        name="adapter_zero",
        holds="at the end B is 0 in every module of the adapter",
        why="B starts at 0, so the adapter changes nothing: the model is its start.",
    ),
    Sign(
        name="adapter_hardly_moved",
        holds="at the end no module's adapter adds more to its output than {gain:g} of the size of "
        "its input",
        why="bfloat16 has steps of 0.4 %, so most of such a change is lost where it is added. The "
        "learning rate or the steps may be too few to show anything.",
        limits={"gain": 1e-3},
        note=True,
    ),
)  # fmt: skip

SIGNS = {sign.name: sign for sign in _DECLARED}


class Watch:
    """The signs that hold in a training, from what is logged. Its state is JSON.

    Parameters
    ----------
    beta
        By which rewards are divided to get log-probs; None for a method without rewards.
    tokens
        Mean tokens of a chosen completion, by `train` and `valid`.
    """

    def __init__(self, beta: float | None = None, tokens: dict[str, float] | None = None) -> None:
        self.beta, self.tokens = beta, tokens or {}
        self.first: dict[str, float] = {}
        """The losses of the first step, and of the validation split before it."""
        self.recent: list[Row] = []
        """Logged means with the number of their steps, as many as have `STEPS`."""
        self.logged_at = 0
        self.zeros = 0
        """The last steps whose gradient was 0."""
        self.holding: dict[str, Row] = {}
        """What holds, by sign and rows."""

    def state_dict(self) -> Row:
        """Return what a resumed training needs."""
        return {key: value for key, value in vars(self).items() if key not in ("beta", "tokens")}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what `state_dict` returned."""
        vars(self).update(state_dict)

    def signs(self) -> list[Row]:
        """Return the signs that hold, in the order in which they are declared."""
        places = list(SIGNS)
        return sorted(self.holding.values(), key=lambda found: places.index(found["sign"]))

    def stepped(self, step: int, gradient: float | None) -> None:
        """Judge the norm of a step's gradient; None: it is not known."""
        self.zeros = self.zeros + 1 if gradient == 0 else 0
        found = self.zeros >= STEPS
        self._hold("gradients_zero", "train", step, found, f"the gradient is 0 for {STEPS} steps")

    def logged(self, step: int, entry: Row) -> None:
        """Judge what was logged, of steps or of an evaluation."""
        if "eval_loss" in entry:
            self._evaluated(step, float(entry["eval_loss"]), entry.get("eval_rewards/chosen"))
        elif "loss" in entry:
            self._trained(step, float(entry["loss"]), entry.get("rewards/chosen"))

    def kept_best(self, step: int, entry: Row) -> None:
        """Judge the adapter that is kept by its own evaluation, and not by what came after."""
        for key in ("chosen_free_fall/train", "chosen_free_fall/valid", "valid_loss_rose/valid"):
            self.holding.pop(key, None)
        self.logged(step, entry)

    def ended(self, step: int, gains: dict[str, float]) -> None:
        """Judge the adapter by how much each of its modules adds to its output."""
        largest = max(gains.values(), default=None)
        zero = largest == 0
        self._hold("adapter_zero", "train", step, zero, "B is 0 in every module of the adapter")
        limit = SIGNS["adapter_hardly_moved"].limits["gain"]
        little = largest is not None and 0 < largest < limit
        text = f"no module's adapter adds more than {largest or 0:.2g} of the size of its input"
        self._hold("adapter_hardly_moved", "train", step, little, text)

    def _trained(self, step: int, loss: float, reward: float | None) -> None:
        if step == 1:
            self.first["loss"] = loss
        logged = {"steps": step - self.logged_at, "loss": loss, "reward": reward}
        self.logged_at = step
        self.recent.append(logged)
        while sum(it["steps"] for it in self.recent[1:]) >= STEPS:
            self.recent.pop(0)
        steps = sum(it["steps"] for it in self.recent)
        if steps < STEPS:
            return
        mean = sum(it["steps"] * it["loss"] for it in self.recent) / steps
        first, limits = self.first.get("loss", mean), SIGNS["loss_exploded"].limits
        exploded = mean > limits["times"] * first and mean > first + limits["above"]
        text = (
            f"the mean loss of the last {steps} steps is {mean:.4g}, the first step's {first:.4g}"
        )
        self._hold("loss_exploded", "train", step, exploded, text)
        if reward is not None:
            reward = sum(it["steps"] * it["reward"] for it in self.recent) / steps
            self._judge_chosen("train", step, reward)

    def _evaluated(self, step: int, loss: float, reward: float | None) -> None:
        first = self.first.setdefault("eval_loss", loss)
        rose = loss > first * (1 + SIGNS["valid_loss_rose"].limits["share"])
        text = f"the loss of the validation split is {loss:.4g}, before the first step {first:.4g}"
        self._hold("valid_loss_rose", "valid", step, rose, text)
        if reward is not None:
            self._judge_chosen("valid", step, reward)

    def _judge_chosen(self, rows: str, step: int, reward: float) -> None:
        """Judge a mean reward of chosen completions."""
        if self.beta is None or rows not in self.tokens:
            return
        fall = -reward / self.beta
        each, limits = fall / self.tokens[rows], SIGNS["chosen_free_fall"].limits
        falls = fall > limits["nats"] and each > limits["nats_per_token"]
        text = (
            f"chosen completions of {rows} rows are {fall:.1f} nats less likely than under the "
            f"reference, {each:.2f} a token"
        )
        self._hold("chosen_free_fall", rows, step, falls, text)

    def _hold(self, name: str, rows: str, step: int, holds: bool, text: str) -> None:
        """Keep a sign that holds, with the first step at which it did; forget one that does not."""
        key = f"{name}/{rows}"
        if holds:
            since = self.holding.get(key, {"step": step})["step"]
            self.holding[key] = SIGNS[name].found(text, step=since)
        else:
            self.holding.pop(key, None)


def adapter_gains(model: Any) -> dict[str, float]:
    """Return how much each module's adapter adds to its output, as a share of its input's size.

    That is scale · ‖B A‖ / √(size of the output), the ratio of root mean squares for an input whose
    directions are equally likely. Modules of a start that is overwritten are left out.
    """
    from scripts.train.processes import whole

    config = model.peft_config["default"]
    gains = {}
    for name, module in model.named_modules():
        # A start that is overwritten keeps its own modules, with a rank of their own.
        kept = name.rpartition(".")[2] in config.rank_pattern
        if kept or "default" not in getattr(module, "lora_B", {}):
            continue
        a, b = (
            whole(part["default"].weight.detach()).cpu().double()
            for part in (module.lora_A, module.lora_B)
        )
        squares = float(((b.T @ b) * (a @ a.T)).sum())
        gains[name] = module.scaling["default"] * (max(squares, 0.0) / len(b)) ** 0.5
    return gains

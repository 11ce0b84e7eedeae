"""How a trial starts from the adapter of another trial, by its setting `start_as`.

`merged`: the start is merged into the base's weights, and a fresh adapter is trained on those. The
merged model is also the reference, so the policy equals its reference at step 0.

`overwritten`: what one published notebook does by mistake. It loads the start without merging it
and wraps the model again. PEFT names both adapters `default`, so the new one replaces the old one
on the modules that it targets, and the old one stays, and is trained on, on its other modules. The
reference is the base with the start merged: at step 0 the policy is not its reference.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from scripts.lm.backends import Backend

Part = dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """The start is merged into the base; without a start, the trial starts from the base."""

    equals_reference = True
    """Whether the policy equals its reference at step 0."""
    keeps_modules = False
    """Whether modules that only the start has are trained too."""
    note: str | None = None
    """What a reader of an estimate has to know."""

    def attach(
        self, backend: "Backend", base: "PreTrainedModel", trial: Part, start: Path | None
    ) -> "PeftModel":
        """Return the model to train, with its adapter as it is at step 0.

        Raises
        ------
        BadInput
            When the trial's adapter does not fit the model, or the start.
        """
        from scripts.lm.adapters import lora_config
        from scripts.lm.snapshots import merge_adapters

        base = merge_adapters(base, [start] if start else [])
        adapter = lora_config(base, trial["lora"])
        return backend.attach(base, adapter, trial["seed"], _checkpointing(trial))

    def lora(self, lora: Part, start: Part, modules: set[str]) -> Part:
        """Return the settings of the adapter that is trained, of the trial's own and its start's.

        Parameters
        ----------
        lora
            The trial's own adapter.
        start
            The start's adapter: r, lora_alpha and lora_dropout.
        modules
            The modules that the start's adapter is on.
        """
        return lora

    def applies_to(self, start: str) -> str:
        """Return the model card's paragraph on what the adapter is loaded onto."""
        return (
            f"The adapter of `{start}` must be merged into the base first: it is where this trial "
            "starts and its reference."
        )


@dataclass(frozen=True)
class Overwritten(Merged):
    """The start is not merged: the new adapter overwrites it where both have a module."""

    equals_reference = False
    keeps_modules = True
    note: str | None = (
        "A trial that overwrites its start trains its own modules and those that only the start "
        "has: all are counted. Its hours are those of a probe that leaves the latter out, so they "
        "are a lower bound."
    )

    def attach(
        self, backend: "Backend", base: "PreTrainedModel", trial: Part, start: Path | None
    ) -> "PeftModel":
        """Return the base with the one adapter that wrapping a wrapped model again leaves."""
        from peft import PeftConfig, set_peft_model_state_dict
        from safetensors.torch import load_file
        from torch.nn import Dropout

        from scripts.lm.adapters import (
            WEIGHTS,
            adapter_tensors,
            check_trained_alike,
            lora_config,
            module_of,
        )

        if start is None:
            raise BadInput(
                "start_as: found overwritten without a start to overwrite; merged is allowed"
            )
        lora = trial["lora"]
        if isinstance(lora["target_modules"], str):
            raise BadInput(
                f"lora.target_modules: found {lora['target_modules']}; a start that is overwritten "
                "needs them named, since PEFT counts the lm_head of a wrapped model among "
                "all-linear"
            )
        adapter_tensors(start)
        check_trained_alike(start, base)
        old, weights = PeftConfig.from_pretrained(start), load_file(start / WEIGHTS)
        for key in ("use_rslora", "use_dora", "layers_to_transform", "modules_to_save"):
            if getattr(old, key):
                raise BadInput(
                    f"{start}: found an adapter with {key}; a start that is overwritten is a plain "
                    "LoRA of all layers"
                )
        both = self.lora(lora, old.to_dict(), set(map(module_of, weights)))
        adapter = lora_config(base, both | {"lora_dropout": lora["lora_dropout"]})
        model = backend.attach(base, adapter, trial["seed"], _checkpointing(trial))
        kept = both.get("rank_pattern", {})
        weights = {name: weight for name, weight in weights.items() if module_of(name) in kept}
        set_peft_model_state_dict(model, weights)
        for name, module in model.named_modules():
            if name.rpartition(".")[2] in kept:
                module.lora_dropout["default"] = Dropout(old.lora_dropout)
        return model

    def lora(self, lora: Part, start: Part, modules: set[str]) -> Part:
        """Return the settings of the one adapter that is left, all of it trained.

        Modules that only the start has keep its rank and scale. `lora_dropout` is the larger of the
        two: memory is counted as if all modules had dropout where some have.
        """
        kept = sorted(modules - set(lora["target_modules"]))
        if not kept:
            return lora
        return lora | {
            "target_modules": [*lora["target_modules"], *kept],
            "rank_pattern": dict.fromkeys(kept, start["r"]),
            "alpha_pattern": dict.fromkeys(kept, start["lora_alpha"]),
            "lora_dropout": max(lora["lora_dropout"], start["lora_dropout"]),
        }

    def applies_to(self, start: str) -> str:
        """Return the model card's paragraph on what the adapter is loaded onto."""
        return (
            f"The adapter applies to the base model as it is; the adapter of `{start}` must not be "
            "merged first. The trial started with that adapter beside the base's weights, "
            "overwritten by a new one on the new one's target modules; on its other modules it "
            "trained on, and is part of this adapter. The reference was the base with "
            f"`{start}` merged, so at step 0 the policy was not its reference."
        )


STARTS: dict[str, Merged] = {"merged": Merged(), "overwritten": Overwritten()}


def start_of(trial: Part) -> Merged:
    """Return how a resolved trial starts; one without `start_as` has no start to merge."""
    return STARTS[trial.get("start_as", "merged")]


def from_base(trial: Part) -> Part:
    """Return a resolved trial as it would be if it started from the base."""
    base = {key: value for key, value in trial.items() if key != "start_as"}
    return base | ({"start": None} if "start" in base else {})


def _checkpointing(trial: Part) -> bool:
    return bool(trial["trainer"]["gradient_checkpointing"])

"""Parts of a plan, small and complete, for tests that need one of them."""

from dataclasses import replace
from typing import Any

from scripts.config.plan.data import Model
from scripts.config.plan.evaluation import Base, Evaluation, HeldOut, Judge, PromptSet, Run
from scripts.config.plan.training import Training

MODEL = Model("m", {"hub": "a/b", "revision": "main"}, "float32", "none")
SETTINGS = {
    "dataset": "q", "split": "test", "template": None, "limit": None, "max_new_tokens": 8,
    "do_sample": True, "temperature": None, "top_p": None, "own_settings": False, "seed": 0,
    "batch_size": 4, "answer_after": None, "answer_before": "Q:", "rules": None, "kl": True,
}  # fmt: skip
EVALUATION = Evaluation(
    completions=HeldOut("s", "test", "s.m.chat.64"),
    pairs=HeldOut("p", "valid", "p.m.chat.64"),
    prompts={
        "set": PromptSet(
            dataset="q", split="test", tokens="q.m.chat.64", settings=SETTINGS,
            overlap="q.test.in.s.train", scored=True, judge=Judge("logprob", MODEL, "judge.jinja"),
        )
    },
    reference="base.p.m.chat.64",
)  # fmt: skip


def training_of(name: str, start: str | None = None, **changes: Any) -> Training:
    """Return a preference trial as it is trained."""
    training = Training(
        name=name, seed=0, method="dpo", rows="preferences", model="m", base="a/b", revision="main",
        precision="float32", quantization="none", backend="transformers", layout="auto",
        processes=1, dataset="p", tokens="p.m.chat.64", train="train", valid=None,
        lora={"r": 4, "target_modules": "all-linear", "lora_dropout": 0.0},
        trainer={"beta": 0.5, "load_best_model_at_end": False, "optim": "adamw_torch",
                 "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
                 "gradient_checkpointing": False, "disable_dropout": True},
        start=start, reference="base.p.m.chat.64",
    )  # fmt: skip
    return replace(training, **changes)


def run_of(folder: str, start: str | None = None, **changes: Any) -> Run:
    """Return a run of a preference trial."""
    _, name, seed = folder.split("/")
    number = int(seed.removeprefix("seed-"))
    return Run(
        folder=folder, name=name, experiment="e", title="E", model=MODEL, method="dpo", seed=number,
        evaluation=EVALUATION, training=training_of(name, start, seed=number, **changes),
    )  # fmt: skip


def base_of(experiment: str) -> Base:
    """Return the base of an experiment."""
    return Base(
        folder=f"bases/{experiment}", name="m", experiment=experiment, title="E", model=MODEL,
        method="base", seed=None, evaluation=EVALUATION,
    )  # fmt: skip

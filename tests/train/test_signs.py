"""Signs that a training goes wrong: in histories, and in tiny trials that are made to."""

import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.common.states import FAILED, state_of
from scripts.models.manifest import write_manifest
from scripts.train import dpo, reference, sft
from scripts.train.signs import SIGNS, STEPS, Stopper, Watch
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]


def seen(entries: Rows, **known: Any) -> list[tuple[str, int]]:
    """Return the signs at the end of a history, and since when."""
    watch = Watch(**known)
    for entry in entries:
        watch.logged(entry["step"], entry)
        # As in a training that is resumed after each log.
        kept, watch = watch, Watch(**known)
        watch.load_state_dict(json.loads(json.dumps(kept.state_dict())))
    return [(found["sign"], found["step"]) for found in watch.signs()]


def steps(*logged: tuple[int, float, float]) -> Rows:
    """Return logged steps with their loss and the reward of chosen completions."""
    return [{"step": step, "loss": loss, "rewards/chosen": reward}
            for step, loss, reward in logged]  # fmt: skip


def evaluations(*logged: tuple[int, float, float]) -> Rows:
    return [{"step": step, "eval_loss": loss, "eval_rewards/chosen": reward}
            for step, loss, reward in logged]  # fmt: skip


PAIRS = {"beta": 0.1, "tokens": {"train": 14.0, "valid": 14.0}}


@pytest.mark.parametrize(
    ("reward", "tokens", "falls"),
    [
        # −16.8 nats and 1.2 a token: titles at a learning rate of 2e-4.
        (-1.68, 14.0, True),
        (-0.71, 14.0, True),
        # 0.49 a token; and less than 5 nats, though many a token.
        (-0.69, 14.0, False),
        (-0.49, 2.0, False),
        (-0.51, 2.0, True),
        # Long completions: 100 nats are 0.2 a token.
        (-10.0, 500.0, False),
        (1.0, 14.0, False),
    ],
)
def test_chosen_completions_in_free_fall(reward: float, tokens: float, falls: bool) -> None:
    known = {"beta": 0.1, "tokens": {"train": tokens, "valid": tokens}}
    wanted = [("chosen_free_fall", 20)] if falls else []
    history = steps((1, 0.69, 0.0), (10, 0.6, 0.0), (20, 0.5, reward))
    assert seen(history, **known) == wanted
    assert seen(evaluations((0, 0.69, 0.0), (20, 0.69, reward)), **known) == wanted
    # A method without rewards has no reference to fall below.
    assert seen(history) == []


def test_steps_are_judged_ten_at_a_time() -> None:
    """One batch of long completions is no fall."""
    calm = [(step, 0.69, -0.05) for step in range(1, 20)]
    assert seen(steps(*calm, (20, 0.69, -5.0)), **PAIRS) == []
    assert seen(steps(*calm, (20, 0.69, -7.0)), **PAIRS) == [("chosen_free_fall", 20)]
    falls = [(step, 0.69, -1.0) for step in range(20, 30)]
    assert seen(steps(*calm, *falls), **PAIRS) == [("chosen_free_fall", 26)]
    rises = [(step, 0.69, 0.0) for step in range(30, 40)]
    assert seen(steps(*calm, *falls, *rises), **PAIRS) == []


@pytest.mark.parametrize(
    ("first", "later", "exploded"),
    [
        (0.69, 2.0, False),
        (0.69, 2.1, True),
        (0.01, 0.9, False),
        (0.01, 1.02, True),
        (4.0, 11.0, False),
    ],
)
def test_a_loss_that_explodes(first: float, later: float, exploded: bool) -> None:
    history = steps((1, first, 0.0), (10, first, 0.0), (20, later, 0.0))
    assert seen(history) == ([("loss_exploded", 20)] if exploded else [])


def test_a_loss_on_validation_above_its_start() -> None:
    ln_2 = 0.6931
    assert seen(evaluations((0, ln_2, 0.0), (50, 0.702, 0.0))) == []
    risen = evaluations((0, ln_2, 0.0), (50, 0.714, 0.0))
    assert seen(risen) == [("valid_loss_rose", 50)]
    assert seen([*risen, *evaluations((100, 0.6, 0.0))]) == []


def test_the_adapter_that_is_kept_is_judged_by_its_own_evaluation() -> None:
    watch = Watch(**PAIRS)
    history = evaluations((0, 0.69, 0.0), (50, 0.6, -0.2), (100, 0.8, -1.7))
    for entry in [*history, *steps((1, 0.69, 0.0), (20, 0.5, -2.0))]:
        watch.logged(entry["step"], entry)
    assert {found["sign"] for found in watch.signs()} == {"chosen_free_fall", "valid_loss_rose"}
    watch.kept_best(50, history[1])
    assert watch.signs() == []


def test_gradients_that_are_zero_for_ten_steps() -> None:
    watch = Watch()
    for step, gradient in enumerate([0.1, *[0.0] * (STEPS - 1), None, *[0.0] * STEPS], start=1):
        assert watch.signs() == []
        watch.stepped(step, gradient)
    (found,) = watch.signs()
    assert (found["sign"], found["step"]) == ("gradients_zero", 21)


def test_each_sign_says_when_it_holds_and_why() -> None:
    for name, sign in SIGNS.items():
        assert sign.name == name
        said = sign.holds.format(**sign.limits)
        assert sign.why
        assert "{" not in said
        assert len(re.findall(r"\{\w+", sign.holds)) == len(sign.limits)
    assert [name for name, sign in SIGNS.items() if sign.note] == ["adapter_hardly_moved"]
    assert set(get_args(Stopper)) < set(SIGNS)


# ------------------------------------------------------------------------------- tiny trials


def run_sft(model: Path, rows: Rows, folder: Path, trial: dict[str, Any]) -> Path:
    write_rows(folder / "tokens.parquet", rows, COMPLETION_TOKENS)
    command = ["--trial", json.dumps(trial), "--model", str(model), "--out", str(folder / "trial")]
    assert sft.main([*command, "--tokens", str(folder / "tokens.parquet")]) == 0
    return folder / "trial"


def signs_of(out: Path) -> list[tuple[str, int]]:
    return [(found["sign"], found["step"]) for found in read_json(out / "train.json")["signs"]]


def test_an_adapter_that_is_never_changed(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = resolved("sft", learning_rate=0.0)
    out = run_sft(tiny_model, demonstrations, tmp_path, trial)
    assert signs_of(out) == [("adapter_zero", 6)]
    assert read_json(out / "train.json")["adapter_gain"] == 0
    line = "step 6/6: adapter_zero: B is 0 in every module of the adapter"
    assert line in capsys.readouterr().err.splitlines()
    card = (out / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "- warning: adapter_zero: B is 0 in every module of the adapter (since step 6)" in card


def test_an_adapter_that_hardly_moves_and_one_that_does(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    trial = resolved("sft", learning_rate=1e-7)
    out = run_sft(tiny_model, demonstrations, tmp_path / "little", trial)
    (found,) = read_json(out / "train.json")["signs"]
    assert (found["sign"], found["note"]) == ("adapter_hardly_moved", True)
    out = run_sft(tiny_model, demonstrations, tmp_path / "far", resolved("sft"))
    trained = read_json(out / "train.json")
    assert trained["signs"] == []
    card = (out / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "No sign that training went wrong was found." in card
    # The gain by hand: B A x for many random x, beside x.
    from safetensors.torch import load_file
    from torch import manual_seed, randn

    weights = load_file(out / "adapter" / "adapter_model.safetensors")
    manual_seed(0)
    gains = []
    for name, b in weights.items():
        if "lora_B" in name:
            a = weights[name.replace("lora_B", "lora_A")]
            x = randn(a.shape[1], 4000)
            gains.append(2 * float((b @ (a @ x)).square().mean().sqrt()))
    assert trained["adapter_gain"] == pytest.approx(max(gains), rel=0.05)


def test_gradients_that_are_zero(tiny_model: Path, demonstrations: Rows, tmp_path: Path) -> None:
    """An adapter that counts for nothing has no gradient."""
    trial = resolved("sft", max_steps=STEPS)
    trial["lora"]["lora_alpha"] = 0
    out = run_sft(tiny_model, demonstrations, tmp_path, trial)
    assert signs_of(out) == [("gradients_zero", STEPS), ("adapter_zero", STEPS)]


def likeliest(model: Any, prompt: list[int], place: int) -> list[int]:
    """Return eight tokens, the likeliest each time; the first is the likeliest after `place`."""
    from torch import tensor

    ids = list(prompt)
    for at in range(8):
        logits = model(tensor([ids])).logits[0, -1]
        ids.append(int(logits.argsort(descending=True)[0 if at else place]))
    return ids[len(prompt) :]


@pytest.fixture(scope="module")
def contradiction(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command line's files of pairs that each stand there the other way round too.

    The model is sure of what it says: its logits are twenty times as large, and both completions
    are what it would say.
    """
    from safetensors.torch import load_file, save_file

    from scripts.lm.snapshots import load_base

    folder = tmp_path_factory.mktemp("contradiction")
    shutil.copytree(tiny_model.parent / "snapshot", folder / "snapshot")
    path = folder / "snapshot" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] *= 20
    save_file(weights, path, {"format": "pt"})
    manifest, tokens = folder / "manifest.json", folder / "pairs.parquet"
    write_manifest(manifest, folder / "snapshot", {"source": "demo"})
    rows = []
    model = load_base(manifest, "float32", "none")
    for i in range(4):
        prompt = [1, 20 + i, 30]
        both = {f"{name}_ids": likeliest(model, prompt, place)
                for place, name in enumerate(("chosen", "rejected"))}  # fmt: skip
        other = {"chosen_ids": both["rejected_ids"], "rejected_ids": both["chosen_ids"]}
        rows += [{"id": f"pair-{i}", "prompt_ids": prompt, **both}]
        rows += [{"id": f"other-{i}", "prompt_ids": prompt, **other}]
    write_rows(tokens, rows, PREFERENCE_TOKENS)
    files = ["--model", str(manifest), "--tokens", str(tokens)]
    own = ["--precision", "float32", "--quantization", "none"]
    assert reference.main([*files, *own, "--out", str(folder / "logps.parquet")]) == 0
    return [*files, "--reference", str(folder / "logps.parquet")]


def test_a_loss_that_explodes_stops_and_resumes_as_if_it_had_not(
    contradiction: list[str], tmp_path: Path
) -> None:
    trial = resolved("dpo", learning_rate=1.0, max_steps=16, logging_steps=1)
    command = [*contradiction, "--trial", json.dumps(trial), "--out"]
    out, whole = tmp_path / "trial", tmp_path / "whole"
    with pytest.raises(BadInput) as stopped:
        dpo.main([*command, str(out), "--stop-when", "valid_loss_rose,loss_exploded"])
    said = str(stopped.value)
    step = int(said.split("/")[0].removeprefix("step "))
    assert STEPS <= step < 16
    start = f"step {step}/16: loss_exploded: the mean loss of the last 10 steps is "
    assert said.startswith(start)
    named = said.split("rows of the step: ")[1].split(";")[0].split(", ")
    assert len(set(named)) == 4
    assert set(named) < {f"{kind}-{i}" for kind in ("pair", "other") for i in range(4)}
    assert said.endswith("stop_when names loss_exploded: without it, training resumes from there")
    assert [it.name for it in (out / "work").glob("checkpoint-*")] == [f"checkpoint-{step}"]
    state = state_of(out, trial, 0.0)
    assert (state.word, state.reason) == (FAILED, f"BadInput: {said}")
    assert "loss_exploded" in [found["sign"] for found in state.progress["signs"]]
    # Once more it stops at once, with the same line; and without stop_when it reaches its end.
    with pytest.raises(BadInput) as again:
        dpo.main([*command, str(out), "--stop-when", "loss_exploded"])
    assert str(again.value) == said
    assert dpo.main([*command, str(out)]) == dpo.main([*command, str(whole)]) == 0
    for name in ("adapter/adapter_model.safetensors", "adapter/README.md", "history.jsonl"):
        assert sha256(out / name) == sha256(whole / name), name
    trained, once = (read_json(folder / "train.json") for folder in (out, whole))
    assert (trained["resumed"], once["resumed"]) == (1, 0)
    assert trained["signs"] == once["signs"]
    assert "loss_exploded" in [name for name, _ in signs_of(whole)]


def test_the_rows_of_a_step_are_those_that_were_drawn(
    contradiction: list[str], tmp_path: Path
) -> None:
    """Two epochs name every row twice."""
    from scripts.train.layouts import LaidOutTrainer

    named = []
    inner = LaidOutTrainer.training_step

    def training_step(self: LaidOutTrainer, *args: Any, **kwargs: Any) -> Any:
        named.append(self.step_rows(3))
        return inner(self, *args, **kwargs)

    trial = resolved("dpo", max_steps=4, gradient_accumulation_steps=2) | {"layout": "stock"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LaidOutTrainer, "training_step", training_step)
        dpo.main([*contradiction, "--trial", json.dumps(trial), "--out", str(tmp_path / "out")])
    assert named[::2] == named[1::2]
    assert all(it.endswith(" and 1 more") for it in named)
    firsts = [it.removeprefix("rows of the step: ").split(" and ")[0].split(", ") for it in named]
    assert all(len(set(it)) == 3 for it in firsts)
    assert not set(firsts[0]) & set(firsts[2])


def test_chosen_completions_that_fall_are_seen_in_training_and_on_validation(
    contradiction: list[str], tmp_path: Path
) -> None:
    """At a wild learning rate all completions are given up."""
    _, tokens, logps = contradiction[1::2]
    trial = resolved("dpo", learning_rate=1.0, max_steps=20, logging_steps=5,
                     eval_strategy="steps", eval_steps=10)  # fmt: skip
    command = [*contradiction, "--valid-tokens", tokens, "--valid-reference", logps]
    command += ["--trial", json.dumps(trial), "--out"]
    assert dpo.main([*command, str(tmp_path / "whole")]) == 0
    signs = read_json(tmp_path / "whole" / "train.json")["signs"]
    fell = [found for found in signs if found["sign"] == "chosen_free_fall"]
    assert [found["text"].split(" rows")[0].split()[-1] for found in fell] == ["train", "valid"]
    assert "valid_loss_rose" in [found["sign"] for found in signs]
    out = tmp_path / "stopped"
    with pytest.raises(BadInput, match=r"^step 10/20: chosen_free_fall: .*; rows of the step: "):
        dpo.main([*command, str(out), "--stop-when", "chosen_free_fall"])
    assert not (out / "adapter").exists()
    assert [it.name for it in (out / "work").glob("checkpoint-*")] == ["checkpoint-10"]

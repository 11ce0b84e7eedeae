"""Probes: a trial's first steps, timed, and the tokens that the trainer itself counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.lm.devices import device_name
from scripts.train.estimate import probe
from scripts.train.estimate.pace import pace_of
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]


def probed(trial: dict[str, Any], model: Path, tokens: Path, steps: int = 4) -> dict[str, Any]:
    out = tokens.with_name("probe.json")
    command = ["--trial", json.dumps(trial), "--model", str(model), "--tokens", str(tokens),
               "--steps", str(steps), "--out", str(out)]  # fmt: skip
    assert probe.main(command) == 0
    return read_json(out)


@pytest.fixture
def tokens(demonstrations: Rows, tmp_path: Path) -> Path:
    write_rows(tmp_path / "sft.parquet", demonstrations, COMPLETION_TOKENS)
    return tmp_path / "sft.parquet"


@pytest.fixture
def pair_tokens(pairs: Rows, tmp_path: Path) -> Path:
    write_rows(tmp_path / "dpo.parquet", pairs, PREFERENCE_TOKENS)
    return tmp_path / "dpo.parquet"


def test_a_supervised_probe(tiny_model: Path, tokens: Path) -> None:
    trial = resolved("sft", max_steps=-1, eval_strategy="epoch") | {"valid": "valid"}
    found = probed(trial, tiny_model, tokens)
    assert (found["steps"], found["timed_steps"]) == (4, 2)
    assert 0 < found["step_seconds"] < 10
    assert 0 < found["real_tokens_per_second"] <= found["padded_tokens_per_second"]
    assert found["for"] == pace_of(trial)
    assert found["device"] == device_name() != "cpu"
    assert found["peak_memory_mb"] > 0
    assert "torch" in found["versions"]
    assert not [path for path in tokens.parent.iterdir() if path.is_dir()]


def test_a_preference_probe_needs_no_start_and_no_reference(
    tiny_model: Path, pair_tokens: Path
) -> None:
    trial = resolved("dpo", max_steps=-1)
    trial |= {"start": "trials/elsewhere/seed-0", "start_as": "overwritten"}
    found = probed(trial, tiny_model, pair_tokens)
    assert found["padded_tokens_per_second"] > 0
    assert found["for"] == pace_of(trial) == pace_of(trial | {"start_as": "merged"})


def test_tokens_are_those_that_the_trainer_counts(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    from scripts.train.costs import Stopwatch
    from scripts.train.run import train

    trial = probe.first_steps(resolved("sft"), 2)
    rows = demonstrations[:4]
    trainer = probe.trainer_of(trial, tiny_model, rows, tmp_path)
    watch = Stopwatch()
    watch.watch(trainer)
    counted = train(trainer, trial)["tokens"]
    lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows]
    seconds, real, padded = zip(*watch.steps(), strict=True)
    # Two steps of two batches of two over four rows: two epochs, each of one window.
    assert sum(real) == counted == 2 * sum(lengths)
    assert sum(padded) > sum(real)
    assert len(seconds) == 2


def test_rows_are_drawn_from_the_whole_split(demonstrations: Rows) -> None:
    trial = resolved("sft", per_device_train_batch_size=1, gradient_accumulation_steps=1)
    drawn = probe.draw(demonstrations, trial, 3)
    assert len(drawn) == 3
    assert drawn != demonstrations[:3]
    assert drawn == probe.draw(demonstrations, trial, 3)
    assert len(probe.draw(demonstrations, trial, 100)) == len(demonstrations)


def test_trials_that_run_alike_have_one_pace() -> None:
    one = resolved("dpo")
    other = resolved("dpo", learning_rate=1.0, beta=0.9) | {"seed": 7, "name": "other"}
    assert pace_of(one) == pace_of(other)
    assert pace_of(one) != pace_of(resolved("dpo", gradient_checkpointing=True))
    assert pace_of(one) != pace_of(one | {"backend": "unsloth"})
    assert pace_of(one) == pace_of(one | {"backend": "transformers"})


def test_too_few_steps_are_refused(tiny_model: Path, tokens: Path) -> None:
    with pytest.raises(BadInput, match="--steps: found 2; at least 3"):
        probed(resolved("sft"), tiny_model, tokens, steps=2)

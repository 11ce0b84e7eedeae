"""Plans: counted by hand, beside real runs, and what must be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_json, write_rows
from scripts.common.pace import pace_of
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.train import estimate, sft
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]
GIB = 2**30


@pytest.fixture
def folder(demonstrations: Rows, pairs: Rows, tmp_path: Path) -> Path:
    """Returns a folder with tokens of both kinds."""
    write_rows(tmp_path / "d" / "train.parquet", demonstrations, COMPLETION_TOKENS)
    write_rows(tmp_path / "p" / "train.parquet", pairs, PREFERENCE_TOKENS)
    return tmp_path


def planned(folder: Path, model: Path, trials: Rows, *more: str) -> dict[str, Any]:
    write_json(folder / "trials.json", [{"training": trial} for trial in trials])
    command = ["--trials", str(folder / "trials.json"), "--models", f"tiny={model}",
               "--tokens", f"d={folder / 'd'}", f"p={folder / 'p'}",
               "--out", str(folder / "plan.json"), *more]  # fmt: skip
    assert estimate.main(command) == 0
    return read_json(folder / "plan.json")


def sft_trial(**trainer: Any) -> dict[str, Any]:
    return resolved("sft", **{"max_steps": -1} | trainer) | {"tokens": "d"}


def dpo_trial(**trainer: Any) -> dict[str, Any]:
    return resolved("dpo", **{"max_steps": -1} | trainer) | {"tokens": "p"}


def test_tokens_by_hand() -> None:
    whole = {"max_steps": -1, "num_train_epochs": 2.0, "per_device_train_batch_size": 3,
             "gradient_accumulation_steps": 1, "dataloader_drop_last": False}  # fmt: skip
    # One batch of three pairs an epoch: the longest of six sequences is 9.
    pairs = [(2, 3), (9, 4), (1, 1)]
    assert estimate.count_tokens(pairs, whole) == (2 * 20, 2 * 6 * 9)
    # Of five rows of length 4, two batches of three and two; the latter is dropped.
    rows = [(4,)] * 5
    assert estimate.count_tokens(rows, whole) == (40, 40)
    assert estimate.count_tokens(rows, whole | {"dataloader_drop_last": True}) == (24, 24)
    assert estimate.count_tokens(rows, whole | {"max_steps": 3}) == (32, 32)
    assert estimate.count_tokens(rows, whole | {"num_train_epochs": 0.5}) == (12, 12)


def test_a_plan_is_what_the_run_turns_out_to_be(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    trial = sft_trial(num_train_epochs=2.0)
    found = planned(folder, tiny_model, [trial])["trials"][0]
    command = ["--trial", json.dumps(trial), "--model", str(tiny_model),
               "--tokens", str(folder / "d" / "train.parquet")]  # fmt: skip
    assert sft.main([*command, "--out", str(tmp_path / "out")]) == 0
    run = read_json(tmp_path / "out" / "train.json")
    assert found["steps"] == run["steps"] == 4
    assert found["real_tokens"] == run["tokens"]
    assert found["padded_tokens"] >= found["real_tokens"]
    assert found["trainable_parameters"] == run["trainable_parameters"]
    share = run["trainable_parameters"] / run["total_parameters"]
    assert found["trainable_share"] == pytest.approx(share)
    saved = (tmp_path / "out" / "adapter" / "adapter_model.safetensors").stat().st_size
    assert saved == pytest.approx(found["disk"]["adapter"], rel=0.2)
    assert found["hours"] is None


def test_parts_add_up(folder: Path, tiny_model: Path) -> None:
    for found in planned(folder, tiny_model, [sft_trial(), dpo_trial()])["trials"]:
        parts = dict(found["memory"])
        total = parts.pop("total")
        assert total == sum(parts.values()) - min(parts["logits"], parts["block"])
        assert parts["adapter"] == parts["gradients"] == 4 * found["trainable_parameters"]
        assert parts["overhead"] > GIB


def test_checkpointing_and_quantization_save_memory(folder: Path, tiny_model: Path) -> None:
    plain, checkpointed, quantized = planned(
        folder,
        tiny_model,
        [
            dpo_trial(),
            dpo_trial(gradient_checkpointing=True),
            dpo_trial() | {"quantization": "nf4"},
        ],
    )["trials"]
    assert checkpointed["memory"]["activations"] < plain["memory"]["activations"]
    assert quantized["memory"]["weights"] < plain["memory"]["weights"]


def test_hours_come_from_a_probe_that_ran_alike(folder: Path, tiny_model: Path) -> None:
    trials = [sft_trial(), sft_trial(learning_rate=1.0) | {"seed": 1}, dpo_trial()]
    probe = {"device": "some GPU", "padded_tokens_per_second": 0.5, "for": pace_of(trials[0])}
    write_json(folder / "probe.json", probe)
    plan = planned(folder, tiny_model, trials, "--probes", str(folder / "probe.json"))
    first, second, third = plan["trials"]
    assert first["hours"] == second["hours"] == first["padded_tokens"] / 0.5 / 3600
    assert third["hours"] is None
    assert plan["totals"]["hours"] == 2 * first["hours"]
    assert plan["totals"]["trials_without_hours"] == 1


def test_totals(folder: Path, tiny_model: Path) -> None:
    plan = planned(folder, tiny_model, [sft_trial(), dpo_trial()])
    totals, trials = plan["totals"], plan["trials"]
    assert totals["trials"] == 2
    assert totals["steps"] == sum(trial["steps"] for trial in trials)
    files = read_json(tiny_model)["files"]
    assert totals["disk"]["snapshots"] == sum(file["bytes"] for file in files)
    assert totals["download"] == 0
    tokens = [path.stat().st_size for path in (folder / "d", folder / "p") for path in
              path.iterdir()]  # fmt: skip
    assert totals["disk"]["tokens"] == sum(tokens)
    assert totals["hours"] is None


def test_a_model_of_which_only_the_config_is_here_is_downloaded(
    folder: Path, tiny_model: Path
) -> None:
    content = read_json(tiny_model)
    kept = [file for file in content["files"] if not file["name"].endswith(".safetensors")]
    part = {**content, "files": kept, "snapshot_bytes": 12_345,
            "folder": str(tiny_model.parent / content["folder"])}  # fmt: skip
    write_json(folder / "manifest.json", part)
    totals = planned(folder, folder / "manifest.json", [sft_trial()])["totals"]
    assert totals["download"] == totals["disk"]["snapshots"] == 12_345


def test_what_does_not_fit_is_listed(folder: Path, tiny_model: Path) -> None:
    plan = planned(folder, tiny_model, [sft_trial()], "--gpu-gb", "1")
    total = plan["trials"][0]["memory"]["total"]
    assert plan["does_not_fit"] == [{"name": "t", "seed": 0, "total": total}]
    assert plan["gpu"] == {"name": None, "memory": GIB}
    assert planned(folder, tiny_model, [sft_trial()], "--gpu-gb", "2")["does_not_fit"] == []


def test_a_thousand_trials_share_what_they_have_in_common(folder: Path, tiny_model: Path) -> None:
    trials = [sft_trial(learning_rate=1e-6 * i) | {"name": f"t{i}"} for i in range(1, 1001)]
    assert planned(folder, tiny_model, trials)["totals"]["trials"] == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "--models: has no other; given: tiny"),
        ({"tokens": "q"}, "--tokens: has no q; given: d, p"),
        ({"tokens": "p"}, "p/train.parquet: has no completion_ids"),
        ({"train": "valid"}, "d/valid.parquet: no such file"),
    ],
)
def test_what_is_missing_is_named(
    folder: Path, tiny_model: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        planned(folder, tiny_model, [sft_trial() | change])


def test_a_file_that_holds_no_trials(folder: Path) -> None:
    write_json(folder / "trials.json", {"name": "t"})
    with pytest.raises(BadInput, match="not a list of trials"):
        estimate.read_trials(folder / "trials.json")

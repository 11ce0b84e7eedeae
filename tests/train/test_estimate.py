"""Plans: against counts by hand, against real runs, and bad input."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_json, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.models import fetch
from scripts.models.manifest import snapshot_files, write_manifest
from scripts.train import dpo, reference, sft
from scripts.train.estimate import sweep
from scripts.train.estimate.pace import pace_of
from scripts.train.starts import Overwritten
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]
GIB = 2**30


@pytest.fixture
def folder(demonstrations: Rows, pairs: Rows, tmp_path: Path) -> Path:
    """Return a folder with tokens of both kinds."""
    write_rows(tmp_path / "d" / "train.parquet", demonstrations, COMPLETION_TOKENS)
    write_rows(tmp_path / "p" / "train.parquet", pairs, PREFERENCE_TOKENS)
    return tmp_path


def planned(folder: Path, model: Path, trials: Rows, *more: str) -> dict[str, Any]:
    write_json(folder / "trials.json", [{"training": trial} for trial in trials])
    command = ["--trials", str(folder / "trials.json"), "--models", f"tiny={model}",
               "--tokens", f"d={folder / 'd'}", f"p={folder / 'p'}",
               "--out", str(folder / "plan.json"), *more]  # fmt: skip
    assert sweep.main(command) == 0
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
    assert sweep.count_tokens(pairs, whole) == (2 * 20, 2 * 6 * 9)
    # Of five rows of length 4, two batches of three and two; the latter is dropped.
    rows = [(4,)] * 5
    assert sweep.count_tokens(rows, whole) == (40, 40)
    assert sweep.count_tokens(rows, whole | {"dataloader_drop_last": True}) == (24, 24)
    assert sweep.count_tokens(rows, whole | {"max_steps": 3}) == (32, 32)
    assert sweep.count_tokens(rows, whole | {"num_train_epochs": 0.5}) == (12, 12)


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


def test_packed_rows_save_memory(folder: Path, tiny_model: Path) -> None:
    """Of one row without mask; `auto` may fall back to the stock layout."""
    plans = planned(folder, tiny_model, [sft_trial() | {"layout": layout} for layout in
                                         ("auto", "stock", "shared")])  # fmt: skip
    auto, stock, packed = (found["memory"] for found in plans["trials"])
    assert auto == stock
    assert packed["logits"] < stock["logits"]
    assert packed["activations"] < stock["activations"]


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


@pytest.fixture
def snapshot(tiny_model: Path) -> Path:
    """Return the folder of the tiny model's files."""
    return tiny_model.parent / read_json(tiny_model)["folder"]


def hub_manifest(manifest: Path, snapshot: Path, commit: str, weights: bool) -> Path:
    """Write the manifest of a hub model, or only of its config and tokenizer."""
    names = snapshot_files(snapshot)
    origin = {"source": "hub", "repository": "some/model", "commit": commit}
    if not weights:
        names = [name for name in names if not name.endswith(".safetensors")]
        origin["snapshot_bytes"] = 12_345
    write_manifest(manifest, snapshot, origin, names, weights=False)
    return manifest


def test_a_model_on_the_hub_is_downloaded_once(folder: Path, snapshot: Path) -> None:
    model = folder / "models" / "tiny"
    tokenizer = hub_manifest(model / "tokenizer" / "manifest.json", snapshot, "1", weights=False)

    def totals() -> dict[str, Any]:
        return planned(folder, tokenizer, [sft_trial()])["totals"]

    assert totals()["download"] == totals()["disk"]["snapshots"] == 12_345
    hub_manifest(model / "manifest.json", snapshot, "1", weights=True)
    assert (totals()["download"], totals()["disk"]["snapshots"]) == (0, 12_345)
    # The configuration names a different commit than the one that was fetched.
    hub_manifest(tokenizer, snapshot, "2", weights=False)
    assert totals()["download"] == 12_345


def test_a_model_in_a_folder_is_no_download(folder: Path, snapshot: Path) -> None:
    manifest = folder / "models" / "tiny" / "tokenizer" / "manifest.json"
    fetch.fetch_tokenizer({"folder": str(snapshot)}, manifest)
    assert "snapshot_bytes" in read_json(manifest)
    totals = planned(folder, manifest, [sft_trial()])["totals"]
    assert totals["download"] == 0
    size = sum((snapshot / name).stat().st_size for name in snapshot_files(snapshot))
    assert totals["disk"]["snapshots"] == size


def test_the_demos_model_is_no_download(folder: Path, snapshot: Path) -> None:
    """Use manifests like those that rule train_demo_model writes."""
    model = folder / "models" / "tiny"
    write_manifest(model / "manifest.json", snapshot, {"source": "demo"})
    tokenizer = model / "tokenizer" / "manifest.json"
    source = json.dumps({"folder": str(snapshot)})
    assert fetch.main(["--source", source, "--tokenizer", "--manifest", str(tokenizer)]) == 0
    assert planned(folder, tokenizer, [sft_trial()])["totals"]["download"] == 0


# ---------------------------------------------------------------------- a start that is overwritten

OLD = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "init_lora_weights": "gaussian",
       "target_modules": ["q_proj", "v_proj", "gate_proj", "down_proj"]}  # fmt: skip
NEW = OLD | {"r": 8, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0}


def over(start_as: str, name: str = "over", **trainer: Any) -> dict[str, Any]:
    changed = {"name": name, "start": "trials/s/seed-0", "start_as": start_as, "lora": NEW}
    return dpo_trial(**trainer) | changed


START = sft_trial() | {"name": "s", "lora": OLD}


def test_a_start_that_is_overwritten_counts_as_it_is_trained(
    folder: Path, tiny_model: Path, pairs: Rows, tmp_path: Path
) -> None:
    trial = over("overwritten", max_steps=1)
    plan = planned(folder, tiny_model, [START, over("merged", "other", max_steps=1), trial])
    _, merged, found = plan["trials"]
    tokens = str(folder / "p" / "train.parquet")
    options = ["--model", str(tiny_model), "--tokens"]
    sft_tokens = str(folder / "d" / "train.parquet")
    start, logps = tmp_path / "start", tmp_path / "r.parquet"
    command = ["--trial", json.dumps(START | {"trainer": START["trainer"] | {"max_steps": 1}})]
    assert sft.main([*command, *options, sft_tokens, "--out", str(start)]) == 0
    options += [tokens, "--start", str(start / "adapter")]
    scoring = ["--precision", "float32", "--quantization", "none"]
    assert reference.main([*options, *scoring, "--out", str(logps)]) == 0
    command = ["--trial", json.dumps(trial), *options, "--reference", str(logps)]
    assert dpo.main([*command, "--out", str(tmp_path / "out")]) == 0
    run = read_json(tmp_path / "out" / "train.json")
    assert found["trainable_parameters"] == run["trainable_parameters"]
    share = run["trainable_parameters"] / run["total_parameters"]
    assert found["trainable_share"] == pytest.approx(share)
    saved = (tmp_path / "out" / "adapter" / "adapter_model.safetensors").stat().st_size
    assert saved == pytest.approx(found["disk"]["adapter"], rel=0.2)
    for part in ("adapter", "gradients", "optimizer", "activations", "total"):
        assert found["memory"][part] > merged["memory"][part]
    assert found["disk"]["checkpoints"] > merged["disk"]["checkpoints"]


def test_dropout_of_the_start_alone_is_counted(folder: Path, tiny_model: Path) -> None:
    silent, heard = planned(
        folder,
        tiny_model,
        [START, over("overwritten"), over("overwritten", "heard", disable_dropout=False)],
    )["trials"][1:]
    assert heard["memory"]["activations"] > silent["memory"]["activations"]


def test_hours_of_an_overwritten_start_are_a_merged_probes(folder: Path, tiny_model: Path) -> None:
    trial = over("overwritten")
    probe = {"device": "some GPU", "padded_tokens_per_second": 0.5, "for": pace_of(over("merged"))}
    write_json(folder / "probe.json", probe)
    plan = planned(folder, tiny_model, [START, trial], "--probes", str(folder / "probe.json"))
    found = plan["trials"][1]
    assert found["hours"] == found["padded_tokens"] / 0.5 / 3600
    assert plan["notes"][-1] == Overwritten.note
    notes = planned(folder, tiny_model, [START, over("merged")])["notes"]
    assert Overwritten.note not in notes


def test_a_start_that_is_not_among_the_trials_is_named(folder: Path, tiny_model: Path) -> None:
    with pytest.raises(BadInput, match="--trials: has no trials/s/seed-0, whose adapter over"):
        planned(folder, tiny_model, [over("overwritten")])


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
        sweep.read_trials(str(folder / "trials.json"))

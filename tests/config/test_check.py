"""The configuration: each mistake is one line that says where it is and what is allowed."""

import copy
import json
from pathlib import Path
from typing import get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from scripts.config.check import load
from scripts.config.fields import json_schema, reference_page
from scripts.config.files import ConfigError, read_config
from scripts.config.plan import make_plan
from scripts.config.trials import LossType
from tests.conftest import ROOT

SMALL = {
    "models": {"m": {"source": {"hub": "a/b", "revision": "0" * 40}}},
    "datasets": {
        "problems": {
            "format": "instruction",
            "source": {"file": {"train": "problems.jsonl"}},
            "splits": {"by": "group", "test": 0.5},
        },
        "pairs": {
            "format": "pairs",
            "source": {"file": {"train": "pairs.jsonl"}},
            "splits": {"by": "source", "train": "train[:2]", "test": "train[2:]"},
        },
    },
    "experiments": {
        "e": {
            "model": "m",
            "generate": {},
            "sft": {"dataset": "problems", "trials": [{"name": "s"}]},
            "preference": {"dataset": "pairs", "trials": [{"name": "d", "start": "s"}]},
        }
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the data files that the small configuration names."""
    rows = {"problems": {"prompt": "p", "completion": "c"},
            "pairs": {"prompt": "p", "chosen": "c", "rejected": "r"}}  # fmt: skip
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return tmp_path


def written(folder: Path, *changes: tuple[str, object], name: str = "config.yaml") -> Path:
    """Returns a file with the small configuration, changed at dotted places."""
    values = copy.deepcopy(SMALL)
    for place, value in changes:
        *above, last = place.split(".")
        part = values
        for key in above:
            part = part[int(key)] if isinstance(part, list) else part[key]
        part[int(last) if isinstance(part, list) else last] = value
    path = folder / name
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load([path])
    return [f"{problem.path}: {problem.text}" for problem in caught.value.problems]


def test_the_small_configuration_is_right(folder: Path) -> None:
    config = load([written(folder)])
    assert config.experiments["e"].preference.trials[0].beta == 0.1


def test_the_old_name_of_the_phase_is_one_line(folder: Path) -> None:
    path = written(folder, (f"{E1}.dpo", {"dataset": "pairs", "trials": [{"name": "x"}]}))
    with pytest.raises(ConfigError) as caught:
        load([path])
    line = path.read_text(encoding="utf-8").splitlines().index("    dpo:") + 1
    assert str(caught.value).startswith(f"{path}:{line}: {E1}.dpo: this phase is now called prefer")
    assert len(caught.value.problems) == 1


E1 = "experiments.e"
MISTAKES = [
    ((f"{E1}.sft.trials.0.rank", 4),
     f"{E1}.sft.trials[0].rank: unknown key; allowed: name, dataset, backend"),
    (("colour", 1),
     "colour: unknown key; allowed: pathvars, mark, claims, allow_failed, accelerator"),
    ((f"{E1}.sft.trials.0.lora", {"r": 0}), f"{E1}.sft.trials[0].lora.r: found 0: "),
    ((f"{E1}.sft.trials", []), f"{E1}.sft.trials: is empty; at least one is needed"),
    ((f"{E1}.sft.trials", [{"name": "s"}, {"name": "s"}]),
     f"{E1}.sft.trials[1].name: s is also the name of {E1}.sft.trials[0]"),
    ((f"{E1}.preference.trials.0.name", "s"),
     f"{E1}.preference.trials[0].name: s is also the name of {E1}.sft.trials[0]"),
    ((f"{E1}.preference.trials.0.start", "t"),
     f'{E1}.preference.trials[0].start: found "t": no SFT trial has this name; allowed: s'),
    (("datasets.problems.columns", {"prompt": "question"}),
     'datasets.problems.columns.prompt: found "question": no such column in '),
    (("datasets.problems.columns", {"answer": "x"}),
     "datasets.problems.columns.answer: unknown key; allowed: prompt, input, completion, system"),
    (("datasets.problems.group", "topic"),
     'datasets.problems.group: found "topic": no such column in '),
    (("datasets.problems.source", {"file": {"train": "none.csv"}}),
     "datasets.problems.source.file.train: found "),
    (("datasets.problems.source", {"file": {"train": "a.txt"}}),
     "datasets.problems.source.file: a.txt is none of .parquet, .arrow, .jsonl, "),
    (("datasets.problems.source", {"file": {"train": "a\nINPUTS\nb.csv"}}),
     "datasets.problems.source.file.train: found "),
    (("datasets.problems.source", {"file": {"train": "{a}.csv"}}),
     "datasets.problems.source.file.train: found "),
    (("datasets.problems.source", {}),
     "datasets.problems.source: needs one of the keys hub, file"),
    (("datasets.pairs.splits.train", "train[x]"),
     "datasets.pairs.splits.train: found \"train[x]\": 'train[x]' is neither"),
    (("datasets.pairs.splits.train", "dev"),
     'datasets.pairs.splits: found "dev": no such split in source.file; allowed: train'),
    (("datasets.problems.splits.source", "train[:20]+train[10:30]"),
     'datasets.problems.splits.source: found "train[:20]+train[10:30]": train[10:30] has rows of '),
    (("datasets.problems.splits.source", "train[3:2]"),
     "datasets.problems.splits.source: found \"train[3:2]\": 'train[3:2]' ends before it begins"),
    (("datasets.pairs.splits.test", "train[1:]"),
     "datasets.pairs.splits: train[1:] has rows of train[:2] (train and test)"),
    (("datasets.pairs.splits", {"by": "source", "valid": "train", "test": "train"}),
     "datasets.pairs.splits: train has rows of train (valid and test)"),
    (("datasets.problems.source", {"file": {"train": "problems.jsonl", "x": "./problems.jsonl"}}),
     "datasets.problems.source.file: names one file twice"),
    (("datasets.problems.columns", {"completion": "prompt"}),
     "datasets.problems.columns: names the column prompt twice; each role needs its own"),
    (("datasets.problems.columns", {"completion": "_split"}),
     "datasets.problems.columns: _split is where the source split is kept; rename the column"),
    (("datasets.problems.group", "_split"),
     'datasets.problems.group: found "_split": _split is where the source split is kept'),
    (("datasets.problems.expect", {"train": -1}), "datasets.problems.expect.train: found -1: "),
    (("datasets.problems.expect", {"train": True}), "datasets.problems.expect.train: found true: "),
    (("datasets.problems.expect", {"train": 2.5}), "datasets.problems.expect.train: found 2.5: "),
    (("datasets.problems.expect", {"valid": 2}),
     "datasets.problems.expect: found 2 rows of valid, which splits does not name"),
    ((f"{E1}.sft.test", "train"), f"{E1}.sft.test: found train: sft trains on this split"),
    ((f"{E1}.sft.valid", "train"), f"{E1}.sft.valid: found train: sft trains on this split"),
    (("datasets.problems.splits.valid", 0.6),
     "datasets.problems.splits: valid + test is 1.1, which leaves no train"),
    (("models.m.source.revision", "v1.0"), 'models.m.source.revision: found "v1.0": '),
    ((f"{E1}.model", "n"), f'{E1}.model: found "n": not defined; allowed: m'),
    ((f"{E1}.template", "alpaca"), f'{E1}.template: found "alpaca": no such template; allowed: '),
    ((f"{E1}.sft.dataset", "pairs"),
     f"{E1}.sft.dataset: pairs has the format pairs; sft needs instruction"),
    (("datasets.pairs", {"format": "unpaired", "source": {"file": {"train": "pairs.jsonl"}},
                         "columns": {"completion": "chosen", "label": "rejected"},
                         "splits": {"by": "source", "train": "train[:2]", "test": "train[2:]"}}),
     f"{E1}.preference.trials[0]: pairs has the format unpaired; dpo needs pairs or messages or d"),
    ((f"{E1}.preference.trials.0",
      {"name": "d", "method": "kto", "per_device_train_batch_size": 1}),
     f"{E1}.preference.trials[0]: kto needs a per_device_train_batch_size of 2 or more: each"),
    ((f"{E1}.sft.valid", "valid"),
     f'{E1}.sft.valid: found "valid": problems has no such split; allowed: train, test'),
    ((f"{E1}.sft.trials.0.eval_strategy", "epoch"),
     f"{E1}.sft.trials[0].eval_strategy: found epoch: sft.valid names no split"),
    ((f"{E1}.sft.trials.0", {"name": "s", "max_steps": 3, "num_train_epochs": 1}),
     f"{E1}.sft.trials[0]: max_steps and num_train_epochs exclude each other"),
    ((f"{E1}.sft.trials.0", {"name": "s", "processes": 3, "gradient_accumulation_steps": 4}),
     f"{E1}.sft.trials[0].processes: found 3, which divides neither gradient_accumulation_steps "
     "(4) nor per_device_train_batch_size (8); the same rows could not make up a step"),
    ((f"{E1}.sft.trials.0", {"name": "s", "processes": 2, "backend": "unsloth"}),
     f"{E1}.sft.trials[0]: processes needs backend: transformers; unsloth trains on one GPU"),
    ((f"{E1}.sft.trials.0", {"name": "s", "processes": 2, "layout": "shared"}),
     f"{E1}.sft.trials[0]: processes needs layout: auto or stock; shared is of one process"),
    ((f"{E1}.sft.trials.0", {"name": "s", "lr_scheduler_type": "constant", "warmup_steps": 3}),
     f"{E1}.sft.trials[0]: warmup_steps has no effect on a constant schedule"),
    ((f"{E1}.sft.trials.0.stop_when", ["adapter_zero"]),
     f"{E1}.sft.trials[0].stop_when[0]: found \"adapter_zero\": input should be 'loss_exploded'"),
    ((f"{E1}.sft.trials.0.stop_when", ["gradients_zero", "gradients_zero"]),
     f"{E1}.sft.trials[0]: stop_when names gradients_zero twice"),
    ((f"{E1}.sft.trials.0.stop_when", ["chosen_free_fall"]),
     f"{E1}.sft.trials[0]: stop_when: chosen_free_fall has no effect on sft, which has no pairs"),
    ((f"{E1}.preference.trials.0.stop_when", ["valid_loss_rose"]),
     f"{E1}.preference.trials[0]: stop_when: valid_loss_rose has no effect with eval_strategy: no"),
    ((f"{E1}.preference.trials.0.method", "sft"),
     f"{E1}.preference.trials[0].method: found sft; allowed: 'dpo', 'kto', 'orpo', 'cpo', 'simpo'"),
    ((f"{E1}.preference.trials.0.lora", {"lora_dropout": 0.1}),
     f"{E1}.preference.trials[0]: lora_dropout above 0 needs disable_dropout said"),
    ((f"{E1}.preference.trials.0", {"name": "d", "start_as": "overwritten"}),
     f"{E1}.preference.trials[0]: start_as: overwritten needs a start"),
    ((f"{E1}.preference.trials.0", {"name": "d", "start": "s", "start_as": "overwritten"}),
     f"{E1}.preference.trials[0]: start_as: overwritten takes named target_modules"),
    ((f"{E1}.generate.a", {"dataset": "problems", "temperature": 1.0}),
     f"{E1}.generate.a: temperature and top_p have no effect without do_sample: true"),
    ((f"{E1}.generate.a", {"dataset": "problems", "own_settings": True, "do_sample": True}),
     f"{E1}.generate.a: do_sample has no effect with own_settings: true"),
    ((f"{E1}.generate.a", {"dataset": "problems", "seed": 1}),
     f"{E1}.generate.a: seed has no effect without sampling"),
    ((f"{E1}.generate.a", {"dataset": "problems", "kl": True}),
     f"{E1}.generate.a: kl: true with do_sample: false would be of another distribution"),
    ((f"{E1}.generate.a", {"dataset": "problems", "kl": True, "do_sample": True,
                           "temperature": 0.7, "top_p": 0.9}),
     f"{E1}.generate.a: kl: true with temperature: 0.7, top_p: 0.9 would be of another"),
    ((f"{E1}.generate.a", {"dataset": "problems", "kl": True, "own_settings": True}),
     f"{E1}.generate.a: kl: true with own_settings: true would be of another distribution"),
    ((f"{E1}.generate.a", {"dataset": "problems", "kl": True, "do_sample": True, "show": ["s"]}),
     f"{E1}.generate.a: kl has no effect on a set with show, which is not scored"),
    ((f"{E1}.generate.a", {"dataset": "problems", "rules": "titles", "show": ["s"]}),
     f"{E1}.generate.a: rules has no effect on a set with show, which is not scored"),
    ((f"{E1}.generate.a", {"dataset": "problems", "judge": {"model": "m"}, "show": ["s"]}),
     f"{E1}.generate.a: judge has no effect on a set with show, which is not scored"),
    ((f"{E1}.generate.a", {"dataset": "problems", "judge": {"model": "n"}}),
     f'{E1}.generate.a.judge.model: found "n": not defined; allowed: m'),
    ((f"{E1}.generate.a", {"dataset": "problems", "judge": {"model": "m", "template": "x.jinja"}}),
     f"{E1}.generate.a.judge.template: found "),
    ((f"{E1}.generate.a", {"dataset": "problems", "judge": {"model": "m", "kind": "api"}}),
     f'{E1}.generate.a.judge.kind: found "api": input should be '),
    ((f"{E1}.generate.a", {"dataset": "none"}), f'{E1}.generate.a.dataset: found "none"'),
    ((f"{E1}.generate.a", {"dataset": "problems", "show": ["x"]}),
     f'{E1}.generate.a.show[0]: found "x": the experiment has no such trial; allowed: '),
    ((f"{E1}.generate.a", {"dataset": "problems", "template": "x"}),
     f'{E1}.generate.a.template: found "x": no such template'),
    ((f"{E1}.sft.template", "x"), f'{E1}.sft.template: found "x": no such template'),
    (("datasets.problems.splits", {"by": "source"}),
     "datasets.problems.splits: names no split"),
    (("claims", "none.yaml"), "claims: found "),
    (("mixtures", {"x": {"of": {"problems": {"rows": 1}, "pairs": {"rows": 1}}}}),
     "mixtures.x.of: found problems demonstrations, pairs preferences; allowed are parts of one"),
    (("mixtures", {"x": {"of": {"problems": {"rows": 1}, "none": {"rows": 1}}}}),
     'mixtures.x.of.none: found "none": not defined; allowed: problems, pairs'),
    (("mixtures", {"x": {"of": {"problems": {"rows": 1}, "y": {"weight": 1.0}}}}),
     "mixtures.x: some parts have rows and some a weight"),
    (("mixtures", {"x": {"of": {"problems": {}, "y": {"rows": 1}}}}),
     "mixtures.x.of.problems: needs one of the keys rows, weight"),
    ((f"{E1}.sft.trials.0.dataset", "none"), f'{E1}.sft.trials[0].dataset: found "none": not defi'),
    ((f"{E1}.sft.trials.0.dataset", "pairs"),
     f"{E1}.sft.trials[0].dataset: pairs has the format pairs; sft needs instruction or conv"),
    ((f"{E1}.seeds", [1, 1]), f"{E1}: seeds holds one seed twice"),
    ((f"{E1}.scoring_batch_size", 16), f"{E1}.scoring_batch_size: unknown key; allowed: title"),
    ((f"{E1}.sft.trials.0.layout", "packed"),
     f'{E1}.sft.trials[0].layout: found "packed": input should be '),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), MISTAKES, ids=[line[:60] for _, line in MISTAKES])
def test_a_mistake_is_one_line(folder: Path, change: tuple[str, object], line: str) -> None:
    found = problems(written(folder, change))
    assert len(found) == 1
    assert found[0].startswith(line)


def test_two_templates_of_one_name_are_refused(folder: Path) -> None:
    """Where they would write the same tokens; a name is free elsewhere."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "t.jinja").write_text("x", encoding="utf-8")
    said = (
        f"{E1}.generate.g.template: found {folder}/b/t.jinja: the name of {folder}/a/t.jinja, too"
    )
    for dataset, lines in {"problems": [said], "pairs": []}.items():
        generate = {"g": {"dataset": dataset, "template": "b/t.jinja"}}
        changes = ((f"{E1}.sft.template", "a/t.jinja"), (f"{E1}.generate", generate))
        path = written(folder, *changes)
        found = problems(path) if lines else load([path]) and []
        assert [line.partition("; allowed")[0] for line in found] == lines


@pytest.mark.parametrize("name", ["a\nINPUTS\nb", "{x}.txt", "<results>", "a\x1b[2J", "below/{x}"])
def test_a_model_of_files_that_cannot_be_a_jobs_inputs_is_refused(folder: Path, name: str) -> None:
    path = folder / "model" / name
    path.parent.mkdir(parents=True)
    for file in (path, folder / "model" / "config.json"):
        file.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load([written(folder, ("models.m.source", {"folder": "model"}))])
    (line,) = str(caught.value).splitlines()
    assert "models.m.source.folder: found " in line
    assert line.endswith(": allowed are paths without {, }, <, > and control characters")
    assert line.isprintable()


def test_sources_need_not_be_here_to_make_reports_of_what_was_published(folder: Path) -> None:
    path = written(folder, ("models.m.source", {"folder": "gone"}))
    (folder / "pairs.jsonl").unlink()
    absent = ["models.m.source.folder", "datasets.pairs.source.file.train"]
    own = {"pathvars": {"results": "r", "metrics": "r"}}
    for values in ({}, own):
        with pytest.raises(ConfigError) as caught:
            load([path], values)
        assert [it.path for it in caught.value.problems] == absent
    assert load([path], {"pathvars": {"results": "r", "metrics": "paper/r"}})


def test_a_configs_own_name_is_printed_in_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load([folder / "a\nb\x1b[2J\u202e.yaml"])
    assert str(caught.value).startswith(rf"{folder}/a\nb\x1b[2J\u202e.yaml:1: ")


DIVERGING = "sigmoid, sigmoid_norm, hinge, ipo, exo_pair, robust, discopop"
BUT_SFT = "; it has on sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, "
BUT_SFT += "aot_unpaired, apo_zero, apo_down, discopop, sigmoid_norm"
REFUSED = [
    ({"loss_type": "dpo"}, '.loss_type: found "dpo": input should be '),
    ({"loss_type": ["sigmoid", "dpo"]}, '.loss_type[1]: found "dpo": input should be '),
    ({"loss_type": []}, ".loss_type: is empty; at least one is needed"),
    ({"loss_type": None}, ".loss_type: found null: must be a list"),
    ({"loss_type": ["ipo", "sft", "ipo"]}, ": loss_type names ipo twice"),
    ({"loss_weights": [1.0]}, ": loss_weights goes with several objectives, and only with them"),
    ({"loss_type": ["ipo", "sft"], "loss_weights": [1.0]},
     ": loss_weights holds 1 for 2 objectives; each needs one"),
    ({"loss_type": ["ipo", "sft"], "loss_weights": [1.0, 0.0]},
     ": loss_weights leaves sft without effect, as its weight is 0"),
    ({"loss_type": "exo_pair"}, ": exo_pair needs a label_smoothing above 0 (its paper: 1e-3)"),
    ({"loss_type": ["sft", "exo_pair"]}, ": exo_pair needs a label_smoothing above 0"),
    ({"label_smoothing": 0.1}, ": label_smoothing has no effect on sigmoid; it has on exo_pair, "
     "robust, aot, aot_unpaired"),
    ({"loss_type": ["ipo", "sft"], "label_smoothing": 0.1},
     ": label_smoothing has no effect on ipo, sft; it has on exo_pair"),
    ({"loss_type": "sft", "beta": 0.2}, ": beta has no effect on sft" + BUT_SFT),
    ({"loss_type": "sft", "ld_alpha": 0.5}, ": ld_alpha has no effect on sft" + BUT_SFT),
    ({"ld_alpha": 1.5}, ".ld_alpha: found 1.5: input should be less than or equal to 1"),
    ({"loss_type": "sft", "f_divergence_type": "forward_kl"},
     f": f_divergence_type has no effect on sft; it has on {DIVERGING}"),
    *(({"loss_type": ["sigmoid", name], "f_divergence_type": "js_divergence"},
       f": f_divergence_type: js_divergence is not defined for {name}; it is for {DIVERGING}")
      for name in ("nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
                   "apo_down")),
    ({"f_divergence_type": "hellinger"}, '.f_divergence_type: found "hellinger": input should be '),
    ({"f_alpha_divergence_coef": 0.7}, ": f_alpha_divergence_coef has no effect on "
     "f_divergence_type: reverse_kl; it has on alpha_divergence"),
    ({"discopop_tau": 0.1}, ": discopop_tau has no effect on sigmoid; it has on discopop"),
    ({"loss_type": ["ipo", "aot"], "use_weighting": True},
     ": use_weighting is not defined for aot, which sorts the pairs"),
    ({"loss_type": "aot_unpaired", "use_weighting": True},
     ": use_weighting is not defined for aot_unpaired, which sorts the pairs"),
    ({"loss_type": ["ipo", "sft"], "use_weighting": True},
     ": use_weighting with sft needs per_device_train_batch_size: 1"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "line"), REFUSED, ids=[str(options) for options, _ in REFUSED])
def test_an_objective_that_cannot_be_is_one_line(
    folder: Path, options: dict[str, object], line: str
) -> None:
    found = problems(written(folder, (f"{E1}.preference.trials.0", {"name": "d"} | options)))
    assert len(found) == 1
    assert found[0].startswith(f"{E1}.preference.trials[0]{line}")


ACCEPTED = [
    *({"loss_type": name} | ({"label_smoothing": 1e-3} if name == "exo_pair" else {})
      for name in get_args(LossType)),
    {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
    {"loss_type": ["sft", "aot"], "label_smoothing": 0.1},
    {"loss_type": list(get_args(LossType)), "label_smoothing": 0.1, "discopop_tau": 0.1},
    {"use_weighting": True},
    {"loss_type": ["ipo", "sft"], "use_weighting": True, "per_device_train_batch_size": 1},
    {"ld_alpha": 0.0},
    {"ld_alpha": 1.0},
    *({"loss_type": [*DIVERGING.split(", "), "sft"], "label_smoothing": 0.1,
       "f_divergence_type": name}
      for name in ("forward_kl", "js_divergence", "alpha_divergence")),
    {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7},
    {"loss_type": "nca_pair", "f_divergence_type": "reverse_kl"},
]  # fmt: skip


@pytest.mark.parametrize("options", ACCEPTED, ids=str)
def test_every_objective_of_trl_can_be_had(folder: Path, options: dict[str, object]) -> None:
    config = load([written(folder, (f"{E1}.preference.trials.0", {"name": "d"} | options))])
    trainer = make_plan(config).runs["trials/d/seed-0"].training.trainer
    asked = options.get("loss_type", "sigmoid")
    assert trainer["loss_type"] == ([asked] if isinstance(asked, str) else asked)
    assert trainer["loss_weights"] == options.get("loss_weights")
    assert (options | {"loss_type": None}).items() <= (trainer | {"loss_type": None}).items()


def test_every_mistake_is_told_at_once(folder: Path) -> None:
    path = written(folder, ("models.m.source.revision", "x"), (f"{E1}.sft.trials.0.lora", {"r": 0}))
    assert len(problems(path)) == 2


def test_a_mistake_is_told_with_file_and_line(folder: Path) -> None:
    path = written(folder, (f"{E1}.model", "n"))
    line = path.read_text(encoding="utf-8").splitlines().index("    model: n") + 1
    with pytest.raises(ConfigError) as caught:
        load([path])
    assert str(caught.value).startswith(f"{path}:{line}: {E1}.model: ")


def test_a_key_that_stands_twice_is_found(folder: Path) -> None:
    path = written(folder)
    path.write_text(path.read_text(encoding="utf-8") + "models: {}\n", encoding="utf-8")
    assert problems(path) == ["models: the key stands twice; each may stand once"]


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [\n", "a: b: c\n"])
def test_what_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    path = folder / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert len(problems(path)) == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == ["(whole file): No such file or directory"]


def test_defaults_lie_under_each_trial_and_are_blamed_where_they_stand(folder: Path) -> None:
    path = written(
        folder,
        (f"{E1}.sft.defaults", {"learning_rate": 1, "lora": {"r": 3, "lora_alpha": 5}}),
        (f"{E1}.sft.trials", [{"name": "s", "lora": {"r": 7}}, {"name": "t"}]),
    )
    first, second = load([path]).experiments["e"].sft.trials
    assert (first.lora.r, first.lora.lora_alpha, first.learning_rate) == (7, 5, 1)
    assert second.lora.r == 3
    path = written(folder, (f"{E1}.sft.defaults", {"lora": {"r": 0}}))
    assert problems(path)[0].startswith(f"{E1}.sft.defaults.lora.r: found 0: ")


def test_an_overlay_wins_and_keeps_its_own_paths(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "mine.jsonl").write_text('{"prompt": "p", "completion": "c"}\n', encoding="utf-8")
    overlay = other / "overlay.yaml"
    overlay.write_text(
        "datasets: {problems: {source: {file: {train: mine.jsonl}}}}\n"
        "experiments: {e: {sft: {trials: [{name: s, learning_rate: 5e-5}]}}}\n",
        encoding="utf-8",
    )
    config = load([written(folder), overlay])
    assert config.datasets["problems"].source.file["train"].name == "mine.jsonl"
    assert config.experiments["e"].sft.trials[0].learning_rate == 5e-5
    assert config.experiments["e"].preference is not None


def test_a_source_of_another_kind_replaces_the_one_below(folder: Path) -> None:
    overlay = folder / "overlay.yaml"
    overlay.write_text(
        "models: {m: {source: {hub: owner/model, revision: main}}}\n"
        "datasets: {problems: {source: {hub: owner/data, revision: main}}}\n",
        encoding="utf-8",
    )
    config = load([written(folder), overlay])
    assert config.models["m"].source.model_dump() == {"hub": "owner/model", "revision": "main"}
    assert config.datasets["problems"].source.hub == "owner/data"
    base = {"models": {"m": {"source": {"folder": str(folder / "base")}}}}
    (folder / "base").mkdir()
    (folder / "base" / "config.json").write_text("{}")
    assert list(load([written(folder)], base).models["m"].source.model_dump()) == ["folder"]
    # Of the same kind, key by key.
    other = {"models": {"m": {"source": {"hub": "owner/other"}}}}
    source = load([written(folder), overlay], other).models["m"].source
    assert source.model_dump() == {"hub": "owner/other", "revision": "main"}


def test_overrides_win_over_files(folder: Path) -> None:
    config = load([written(folder)], {"experiments": {"e": {"max_length": 64}}})
    assert config.experiments["e"].max_length == 64


SHIPPED = ["config.yaml", "demo/config.yaml", "docs/examples/own-data.yaml", "pilot/config.yaml"]


@pytest.mark.parametrize("name", SHIPPED[:2])
def test_the_shipped_configurations_are_right(name: str) -> None:
    assert load([ROOT / name]).experiments


def test_the_reference_page_and_the_schema_are_current() -> None:
    page, schema = (ROOT / "docs" / name for name in ("config.md", "config.schema.json"))
    assert page.read_text(encoding="utf-8") == reference_page(), "run: make docs"
    assert json.loads(schema.read_text(encoding="utf-8")) == json_schema(), "run: make docs"


def refused(values: object) -> str | None:
    """Return where the JSON schema refuses values, if it does."""
    found = best_match(Draft202012Validator(json_schema()).iter_errors(values))
    return found and found.json_path


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_takes_the_shipped_configurations(name: str) -> None:
    Draft202012Validator.check_schema(json_schema())
    assert refused(read_config(ROOT / name).values) is None


@pytest.mark.parametrize(
    ("place", "value", "refused_at"),
    [
        (f"{E1}.sft.defaults", {"learning_rate": 1e-4, "lora": {"r": 8}}, None),
        (f"{E1}.preference.trials.0.loss_type", "hinge", None),
        (f"{E1}.preference.trials.0.method", "dpo", None),
        (f"{E1}.sft.defaults", {"beta": 0.1}, f"$.{E1}.sft.defaults"),
        (f"{E1}.sft.trials.0.rank", 4, f"$.{E1}.sft.trials[0]"),
        (f"{E1}.preference.trials.0.method", "orpo", None),
        (f"{E1}.preference.trials.0.method", "ppo", f"$.{E1}.preference.trials[0]"),
        (f"{E1}.dpo", {"dataset": "pairs", "trials": [{"name": "x"}]}, f"$.{E1}"),
        ("models.Big Name", SMALL["models"]["m"], "$.models"),
        ("models.m.source", {"hub": "a/b"}, "$.models.m.source"),
    ],
    ids=str,
)
def test_the_schema_completes_and_checks(
    folder: Path, place: str, value: object, refused_at: str | None
) -> None:
    values = read_config(written(folder, (place, value))).values
    assert refused(values) == refused_at

"""Values of a config: YAML 1.2, and nothing that cannot be trained; each mistake has its line."""

import json
from pathlib import Path

import pytest

from scripts.config.check import load
from scripts.config.files import ConfigError, read_config

CONFIG = """\
models:
  m: {source: {demo: texts.jsonl}}
datasets:
  problems:
    format: instruction
    source: {file: {train: problems.jsonl}}
    splits: {by: group, test: 0.5}
  pairs:
    format: pairs
    source: {file: {train: pairs.jsonl}}
    splits: {by: source, train: "train[:2]", test: "train[2:]"}
experiments:
  e:
    model: m
    max_length: 64
    sft:
      dataset: problems
      trials:
        - name: s
    preference:
      dataset: pairs
      trials:
        - name: d
"""
MODEL, EXPERIMENT, SFT, DPO = 2, 15, 19, 23
"""The lines after which keys of a part stand."""
INDENT = {MODEL: "  ", EXPERIMENT: "    ", SFT: "          ", DPO: "          "}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the data files that the configuration names."""
    rows = {"problems": {"prompt": "p", "completion": "c"}, "texts": {"text": "t"},
            "pairs": {"prompt": "p", "chosen": "c", "rejected": "r"}}  # fmt: skip
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return tmp_path


def written(folder: Path, after: int, text: str) -> Path:
    """Returns the configuration with lines of text after one of its own."""
    lines = CONFIG.splitlines()
    lines[after:after] = [INDENT.get(after, "") + line for line in text.splitlines()]
    path = folder / "config.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Returns what is said of a config, from the line on."""
    with pytest.raises(ConfigError) as caught:
        load([path])
    return "\n".join(line.removeprefix(f"{path}:") for line in str(caught.value).splitlines())


VALUES = [
    ("010", 10), ("0o17", 15), ("0x1f", 31), ("1e3", 1000), ("5e-5", 5e-5), ("+1", 1), (".5", 0.5),
    ("1.", 1), ("-2.5E1", -25), ("1:30", "1:30"), ("yes", "yes"), ("no", "no"), ("on", "on"),
    ("Off", "Off"), ("y", "y"), ("1_000", "1_000"), ("0b1", "0b1"), ("2020-01-01", "2020-01-01"),
    ("2020-99-99", "2020-99-99"), ("=", "="), ("true", True), ("FALSE", False), ("~", None),
    ("", None), ("null", None), ('"1e5"', "1e5"), ("'010'", "010"), ('"true"', "true"),
    ('"null"', "null"), ('"~"', "~"), ("!!str 5", "5"), ("1e5x", "1e5x"), ("e5", "e5"), (".", "."),
    ("1e", "1e"), ("+", "+"), ("1.5.2", "1.5.2"), ("0x", "0x"), ("089", 89),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[text for text, _ in VALUES])
def test_yaml_is_that_of_version_1_2(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"a: {text}\n", encoding="utf-8")
    found = read_config(path).values["a"]
    assert (found, type(found)) == (value, type(value))


T = "experiments.e.sft.trials[0]"
D = "experiments.e.preference.trials[0]"
NUMBERS = [
    *((SFT, f"{key}: {value}", f"20: {T}.{key}: found {shown}: {text}")
      for key, value, shown, text in [
          ("max_steps", "true", "true", "must be a whole number"),
          ("max_steps", "1.5", "1.5", "must be a whole number"),
          ("max_steps", '"3"', '"3"', "must be a whole number"),
          ("max_steps", "1_000", '"1_000"', "must be a whole number"),
          ("max_steps", "1:30", '"1:30"', "must be a whole number"),
          ("max_steps", "2147483648", "2147483648", "input should be less than or equal to"),
          ("max_steps", "-1", "-1", "input should be greater than or equal to 1"),
          ("learning_rate", ".inf", "Infinity", "must be finite"),
          ("learning_rate", ".nan", "NaN", "must be finite"),
          ("learning_rate", "1e999", "Infinity", "must be finite"),
          ("learning_rate", "1e-320", "1e-320", "input should be greater than or equal to 0.0000"),
          ("learning_rate", "true", "true", "must be a number"),
          ("learning_rate", '"2e-4"', '"2e-4"', "must be a number"),
          ("weight_decay", ".inf", "Infinity", "must be finite"),
          ("num_train_epochs", "1e7", "10000000", "input should be less than or equal to 1000000"),
          ("gradient_checkpointing", "1", "1", "must be true or false"),
          ("gradient_checkpointing", "yes", '"yes"', "must be true or false"),
          ("gradient_checkpointing", "on", '"on"', "must be true or false"),
      ]),
    (SFT, "lora: {r: true}", f"20: {T}.lora.r: found true: must be a whole number"),
    (SFT, "lora: {r: 2097152}", f"20: {T}.lora.r: found 2097152: input should be less than"),
    (SFT, "lora:\n  target_modules:\n    - q_proj\n    - ' '",
     f"21: {T}.lora.target_modules: found ' '; allowed are names of modules without blanks"),
    (SFT, "lora: {target_modules: ['']}", f"20: {T}.lora.target_modules: found ''; allowed"),
    (SFT, "warmup_steps: 1.5", f"20: {T}.warmup_steps: found 1.5; allowed are whole steps, or"),
    (SFT, "warmup_steps: 5\nmax_steps: 4", f"20: {T}.warmup_steps: found 5; the run has max_step"),
    (SFT, "max_steps: 4\neval_strategy: steps\neval_steps: 5",
     f"22: {T}.eval_steps: found 5; the run has max_steps 4"),
    (DPO, "loss_type: [ipo, sft]\nloss_weights: [1, -1]",
     f"25: {D}.loss_weights[1]: found -1: input should be greater than or equal to 0"),
    (DPO, "loss_type: [ipo, sft]\nloss_weights: [0, 0]",
     f"23: {D}: loss_weights leaves ipo without effect, as its weight is 0"),
    (DPO, "beta: .nan", f"24: {D}.beta: found NaN: must be finite"),
    (EXPERIMENT, "seeds: [4294967296]", "16: experiments.e.seeds[0]: found 4294967296: input"),
    (EXPERIMENT, "seeds: [true]", "16: experiments.e.seeds[0]: found true: must be a whole"),
    (EXPERIMENT, "seeds: 5", "16: experiments.e.seeds: found 5: must be a list"),
    (EXPERIMENT, "title: 1e5", "16: experiments.e.title: found 100000: must be text; quotes make"),
    (EXPERIMENT, "title: 123456789012345678901",
     "16: experiments.e.title: found a number of 21 digits; allowed are 20, or quotes"),
    (EXPERIMENT, "generate: {g: {dataset: problems, do_sample: true, seed: -1}}",
     "16: experiments.e.generate.g.seed: found -1: input should be greater than"),
    (EXPERIMENT, "generate: {g: {dataset: problems, do_sample: true, temperature: 1e-40}}",
     "16: experiments.e.generate.g.temperature: found 1e-40: input should be greater than"),
    (EXPERIMENT, "enabled: no", '16: experiments.e.enabled: found "no": must be true or false'),
    *((MODEL, f"m: {{source: {{demo: texts.jsonl, {keys}}}}}", f"3: models.m.source{text}")
      for keys, text in [
          ("num_attention_heads: 5", ": hidden_size: found 128; allowed are multiples of"),
          ("hidden_size: 12", ".hidden_size: found 12; allowed are multiples of twice"),
          ("sequence_length: 512", ".sequence_length: found 512; allowed is at most max_"),
          ("steps: 20", ": warmup_steps: found 30; allowed is at most steps (20)"),
      ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "text", "line"), NUMBERS, ids=[text.replace("\n", ";") for _, text, _ in NUMBERS]
)
def test_a_number_that_cannot_be_is_one_line(
    folder: Path, after: int, text: str, line: str
) -> None:
    path = written(folder, after, text)
    if after == MODEL:
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(["", *lines[:1], *lines[2:]]) + "\n", encoding="utf-8")
    found = refusal(path)
    assert found.startswith(line)
    assert "\n" not in found


ACCEPTED = [
    "eval_strategy: no", "max_steps: 1e1", "max_steps: 3.0", "max_steps: 010", "warmup_steps: 1",
    "warmup_steps: 0.1", "learning_rate: 1", "learning_rate: 2e-4", "max_steps: 4\nwarmup_steps: 4",
    "num_train_epochs: 2147", "lora: {target_modules: [q_proj]}", "lora: {init_lora_weights: true}",
]  # fmt: skip


@pytest.mark.parametrize("text", ACCEPTED, ids=str)
def test_a_number_may_be_written_so(folder: Path, text: str) -> None:
    assert load([written(folder, SFT, text)]).experiments["e"].sft


def test_quoted_text_stays_text(folder: Path) -> None:
    config = load([written(folder, EXPERIMENT, 'title: "1e5"')])
    assert config.experiments["e"].title == "1e5"


def test_values_of_the_command_line_are_read_alike(folder: Path) -> None:
    """Snakemake leaves what is nested in --config as text."""
    sft = {"defaults": {"learning_rate": "5e-5"}}
    change = {"max_length": "0128", "enabled": "true", "sft": sft}
    path = written(folder, EXPERIMENT, "title: t")
    experiment = load([path], {"experiments": {"e": change}}).experiments["e"]
    assert (experiment.max_length, experiment.sft.trials[0].learning_rate) == (128, 5e-5)


def test_what_is_merged_is_blamed_where_it_stands(folder: Path) -> None:
    path = written(folder, SFT, "lora: &lora\n  r: 0")
    path.write_text(
        path.read_text(encoding="utf-8").replace("- name: d", "- {name: d, lora: {<<: *lora}}"),
        encoding="utf-8",
    )
    lines = refusal(path).splitlines()
    assert [line.split(" found")[0] for line in lines] == [f"21: {T}.lora.r:", f"21: {D}.lora.r:"]

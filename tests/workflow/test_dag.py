"""The DAG: the jobs of a configuration, and what an edit makes stale."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.common.files import read_json
from tests.hub.repositories import write_model
from tests.workflow.conftest import CUT_DOWN, Project, copied

# The literal command: one core, one GPU, and no target, so that `all` is made.
LITERAL = ("--cores", "1", "--resources", "gpu=1")


def test_the_paper(project: Project) -> None:
    """The literal command on config.yaml: 29 trials and their five bases; shared references."""
    assert project.rules(*LITERAL) == {
        "check_backends": 1,
        "check_adapter": 6,
        "fetch_dataset": 10,
        "fetch_tokenizer": 2,
        "fetch_model": 2,
        "prepare_dataset": 10,
        "overlap": 1,
        "tokenize": 15,
        "reference": 15,
        "train": 29,
        "score": 34,
        "measure": 34,
        "lookup": 3,
        "aggregate": 29,
        "compare": 5,
        "table": 10,
        "figure": 9,
        "page": 1,
        "all": 1,
    }


def test_what_is_asked_before_a_gpu_is_spent_needs_no_weights(project: Project) -> None:
    for target in ("plan", "doctor"):
        rules = project.rules(target, *LITERAL)
        assert rules["fetch_tokenizer"] == 2
        assert not {"fetch_model", "train", "reference", "score"} & rules.keys()
    # One probe per pace: the DPO trials differ only in beta and learning rate.
    assert project.rules("probes", *LITERAL)["probe"] == 18


def test_the_demo(project: Project) -> None:
    assert project.rules("--workflow-profile", "profiles/demo") == {
        "lookup": 2,
        "fetch_dataset": 3,
        "fetch_model": 1,
        "fetch_tokenizer": 1,
        "check_adapter": 1,
        "prepare_dataset": 3,
        "tokenize": 3,
        "reference": 6,
        "train": 10,
        "score": 12,
        "judge": 5,
        "measure": 12,
        "aggregate": 10,
        "compare": 2,
        "table": 8,
        "figure": 9,
        "page": 1,
        "all": 1,
    }


def test_the_papers_trials_do_not_join_the_demos(project: Project) -> None:
    outputs = [output for _, output in project.jobs("--workflow-profile", "profiles/demo")]
    assert all(output.startswith("results/demo/") for output in outputs if output)


TOGETHER = {"aggregate", "compare"}
"""The rules that combine the results of single runs."""


def stale(project: Project) -> set[tuple[str, str]]:
    """Return rule and subject of the jobs that a dry run of the cut-down demo lists."""
    return {
        (rule, re.sub(r"^results/demo/|/[^/]+$", "", output))
        for rule, output in project.jobs(*CUT_DOWN)
        if rule not in ("all", "table", "figure", "page")
    }


def test_editing_one_trial_reruns_that_trial_alone(rerun: Project) -> None:
    rerun.edit("cut-down.yaml", "lora: {r: 4, lora_alpha: 8}", "lora: {r: 5, lora_alpha: 8}")
    folder = "trials/sft-r4/seed-0"
    assert stale(rerun) == {
        ("train", f"{folder}/adapter"),
        ("score", folder),
        ("measure", folder),
        ("aggregate", "trials/sft-r4"),
        ("compare", "comparisons"),
    }


def test_editing_the_start_reruns_what_starts_from_it(rerun: Project) -> None:
    rerun.edit("cut-down.yaml", "lora: {r: 16, lora_alpha: 32}}", "lora: {r: 15, lora_alpha: 32}}")
    found = {subject for rule, subject in stale(rerun) if rule.startswith("train")}
    assert found == {"trials/sft-r16/seed-0/adapter", "trials/dpo-r8/seed-0/adapter"}
    assert not any("sft-r4" in subject or "headlines" in subject for _, subject in stale(rerun))


@pytest.mark.parametrize(
    "settings",
    [
        "beta: 0.3",
        "loss_type: ipo",
        "loss_type: [sigmoid, sft], loss_weights: [1, 0.5]",
        "ld_alpha: 0.5",
        "layout: stock",
        "per_device_train_batch_size: 2",
    ],
)
def test_a_reference_knows_nothing_of_the_trials_that_it_serves(
    rerun: Project, settings: str
) -> None:
    trial = "lora: {r: 8, lora_alpha: 16}, learning_rate: 5e-4"
    rerun.edit("cut-down.yaml", trial, f"lora: {{r: 4}}, learning_rate: 1e-4, {settings}")
    assert {rule for rule, _ in stale(rerun)} == {"train", "score", "measure"} | TOGETHER


def test_trials_of_another_objective_find_their_reference_there(rerun: Project) -> None:
    trial = "- {name: dpo-r8, lora: {r: 8, lora_alpha: 16}, learning_rate: 5e-4}"
    added = trial.replace("dpo-r8", "dpo-hinge").replace("5e-4", "5e-4, loss_type: hinge")
    rerun.edit("cut-down.yaml", trial, f"{trial}\n        {added}")
    assert {rule for rule, _ in stale(rerun)} == {"train", "score", "measure"} | TOGETHER


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("demo/config.yaml", "precision: float32", "precision: bfloat16"),
        ("demo/config.yaml", "precision: float32", "quantization: nf4"),
        ("demo/config.yaml", "max_length: 128", "max_length: 120"),
        ("cut-down.yaml", "learning_rate: 5e-4", "learning_rate: 5e-4, backend: unsloth"),
        ("scripts/lm/prefix_tree.py", "path.append(parent - 1)", "path += [parent - 1]"),
        ("scripts/lm/tree_attention.py", "1e-3, 0.2", "1e-3, 0.3"),
        ("envs/train.cpu.post-deploy.sh", "#!/", "#! /"),
    ],
)
def test_a_reference_is_made_again_when_what_it_depends_on_changes(
    rerun: Project, file: str, old: str, new: str
) -> None:
    rerun.edit(file, old, new)
    assert "reference" in {rule for rule, _ in stale(rerun)}


def test_what_stops_a_trial_reruns_nothing(rerun: Project) -> None:
    trial = "learning_rate: 5e-4"
    rerun.edit("cut-down.yaml", trial, f"{trial}, stop_when: [chosen_free_fall, loss_exploded]")
    assert stale(rerun) == set()
    shown = rerun.run(*CUT_DOWN, "-n", "-p", "--forcerun", "train").stdout
    assert "--stop-when=chosen_free_fall,loss_exploded" in shown.split()


def test_editing_how_answers_are_generated_retrains_nothing(rerun: Project) -> None:
    rerun.edit("cut-down.yaml", "problems: {limit: 4, ", "problems: {limit: 5, ")
    rules = {rule for rule, _ in stale(rerun)}
    assert rules == {"score", "measure"} | TOGETHER
    assert not any("headlines" in subject or "titles" in subject for _, subject in stale(rerun))


def test_what_is_measured_of_answers_retrains_nothing(rerun: Project) -> None:
    trial, base = "trials/titles-r16/seed-0", "bases/headlines"
    rerun.edit("demo/config.yaml", "do_sample: true, kl: true", "do_sample: true")
    # A base has no KL: its answers stay, but the description of their settings changes.
    measured = {("measure", trial), ("measure", base), ("aggregate", "trials/titles-r16"),
                ("compare", "comparisons")}  # fmt: skip
    assert stale(rerun) == {("score", trial), ("judge", trial), *measured}
    rerun.edit("demo/config.yaml", "do_sample: true", "do_sample: true, kl: true")
    rerun.edit("demo/config.yaml", "{model: demo}", "{model: demo, template: judge.jinja}")
    template = rerun.folder / "scripts" / "evaluate" / "judge.jinja"
    text = template.read_text(encoding="utf-8")
    (rerun.folder / "demo" / "judge.jinja").write_text(text, encoding="utf-8")
    assert stale(rerun) == {("judge", trial), *measured}
    rerun.edit("demo/config.yaml", ", judge: {model: demo, template: judge.jinja}", "")
    assert stale(rerun) == measured


def test_a_judge_compares_a_trial_with_its_base(project: Project) -> None:
    outputs = [
        output
        for rule, output in project.jobs("--workflow-profile", "profiles/demo")
        if rule == "judge"
    ]
    trials = ("cpo", "kto", "orpo", "r16", "simpo")
    assert outputs == [f"results/demo/trials/titles-{it}/seed-0/verdicts.parquet" for it in trials]


def test_the_kl_to_an_overwritten_start_reads_that_start(project: Project) -> None:
    project.edit("config.yaml", "problems-100: {", "problems-100: {do_sample: true, kl: true, ")
    folders = [f"results/trials/{trial}/seed-42" for trial in ("dpo-1", "dpo-1-as-coded")]
    done = project.run(*(f"{folder}/pairs.parquet" for folder in folders), "-n", "-p", *LITERAL)
    scored = [line for line in done.stdout.splitlines() if "scripts.evaluate.score" in line]
    merged, overwritten = (
        next(line for line in scored if f"--out {folder} " in line) for folder in folders
    )
    start = "results/trials/sft-1/seed-42/adapter"
    assert f"--adapters {start} {folders[0]}/adapter" in merged
    assert "--start" not in merged
    assert f"--adapters {folders[1]}/adapter --start {start}" in overwritten


def test_editing_a_comparison_remakes_the_tables_and_figures_that_read_it(rerun: Project) -> None:
    rerun.edit("scripts/evaluate/compare.py", "ALL_PAIRS = 10", "ALL_PAIRS = 9")
    assert stale(rerun) == {("compare", "comparisons")}
    assert rerun.rules(*CUT_DOWN) == {"compare": 2, "table": 5, "figure": 2, "page": 1, "all": 1}


def test_another_seed_runs_that_seed_alone(rerun: Project) -> None:
    rerun.edit("cut-down.yaml", "  headlines:\n", "  headlines:\n    seeds: [0, 1]\n")
    folder = "trials/titles-r16/seed-1"
    assert stale(rerun) == {
        ("train", f"{folder}/adapter"),
        ("score", folder),
        ("judge", folder),
        ("measure", folder),
        ("aggregate", "trials/titles-r16"),
        ("compare", "comparisons"),
    }


def test_editing_a_title_remakes_the_report_alone(rerun: Project) -> None:
    rerun.edit("demo/config.yaml", "title: Word problems, then dialogues", "title: Tutor")
    assert stale(rerun) == set()
    assert rerun.rules(*CUT_DOWN) == {"table": 8, "figure": 9, "page": 1, "all": 1}


def test_a_source_replaced_by_an_older_file_is_seen(rerun: Project) -> None:
    corpus = rerun.folder / "demo/corpora/titles.jsonl"
    text = corpus.read_text(encoding="utf-8")
    corpus.write_text(text.replace("Guide", "Manual"), encoding="utf-8")
    os.utime(corpus, (1, 1))
    assert ("fetch_dataset", "data/titles") in stale(rerun)
    corpus.write_text(text, encoding="utf-8")
    os.utime(corpus, (1, 1))
    assert rerun.jobs(*CUT_DOWN) == []


def test_touching_every_script_reruns_nothing(rerun: Project) -> None:
    for path in [*rerun.folder.rglob("*.py"), *rerun.folder.rglob("*.smk")]:
        os.utime(path)
    assert rerun.jobs(*CUT_DOWN) == []


def test_a_comment_or_a_reformatted_rule_reruns_nothing(rerun: Project) -> None:
    for path in (rerun.folder / "scripts").rglob("*.py"):
        path.write_text("# A new comment.\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    for path in (rerun.folder / "rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        layout = re.sub(r"    log:\n +", "    log: ", text).replace("\nrule ", "\n# why\nrule ")
        assert layout != text or path.stem == "common"
        path.write_text(layout, encoding="utf-8")
    assert rerun.jobs(*CUT_DOWN) == []


@pytest.mark.parametrize(
    ("helper", "old", "new", "rules"),
    [
        (
            "scripts/evaluate/answers.py",
            "numbers[-1]",
            "numbers[0]",
            {"measure"} | TOGETHER,
        ),
        (
            "scripts/lm/pairs.py",
            '"chosen_logp": sum(chosen)',
            '"chosen_logp": sum(list(chosen))',
            {"reference", "train", "score", "judge", "measure"} | TOGETHER,
        ),
        (
            "scripts/evaluate/logprob_judge.py",
            'VERDICTS = ("A", "B")',
            'VERDICTS = ("B", "A")',
            {"judge", "measure"} | TOGETHER,
        ),
        (
            "scripts/data/dialogues.py",
            "content.strip()",
            "content.strip().strip()",
            None,
        ),
    ],
)
def test_a_changed_helper_reruns_what_imports_it(
    rerun: Project, helper: str, old: str, new: str, rules: set[str] | None
) -> None:
    rerun.edit(helper, old, new)
    found = {rule for rule, _ in stale(rerun)}
    if rules is None:
        # Everything but the base model and the sources depends on preparing data.
        assert "prepare_dataset" in found
        assert not {"fetch_dataset", "train_demo_model"} & found
    else:
        assert found == rules


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/common/metrics.py", 'label="Held-out loss"', 'label="Loss"'),
        ("scripts/common/methods.py", 'look=("#de8f05", "s")', 'look=("#de8f05", "v")'),
    ],
)
def test_a_label_or_a_look_remakes_reports_alone(
    rerun: Project, file: str, old: str, new: str
) -> None:
    rerun.edit(file, old, new)
    assert stale(rerun) == set()
    assert rerun.rules(*CUT_DOWN)["figure"] == 9


@pytest.mark.parametrize(
    ("method", "trials"),
    [
        # dpo-r8 starts from sft-r16.
        ("sft", {"sft-r16", "sft-r4", "dpo-r8"}),
        ("dpo", {"dpo-r8", "titles-r16"}),
    ],
)
def test_a_changed_trainer_reruns_the_trials_of_its_method(
    rerun: Project, method: str, trials: set[str]
) -> None:
    path = rerun.folder / "scripts" / "train" / f"{method}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    assert {subject.split("/")[1] for rule, subject in stale(rerun) if rule == "train"} == trials


def test_an_edited_table_remakes_that_table_and_the_page(rerun: Project) -> None:
    file = "scripts/report/tables/sft.py"
    rerun.edit(file, 'title="Supervised fine-tuning"', 'title="SFT"')
    assert rerun.rules(*CUT_DOWN) == {"table": 1, "page": 1, "all": 1}


def test_a_changed_figure_style_remakes_the_figures_and_the_page_that_shows_them(
    rerun: Project,
) -> None:
    rerun.edit("scripts/report/style.py", 'color_palette("colorblind")', 'color_palette("deep")')
    assert stale(rerun) == set()
    assert rerun.rules(*CUT_DOWN) == {"figure": 9, "page": 1, "all": 1}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scripts/report/page/page.css", "margin: 0;", "margin: 1px;"),
        ("scripts/report/page/page.js", "PER_PAGE = 10", "PER_PAGE = 11"),
        ("scripts/report/page/page.html", "<h2>Tables</h2>", "<h2>The tables</h2>"),
    ],
)
def test_a_changed_look_of_the_page_remakes_it_alone(
    rerun: Project, file: str, old: str, new: str
) -> None:
    rerun.edit(file, old, new)
    assert rerun.rules(*CUT_DOWN) == {"page": 1, "all": 1}


def test_a_changed_lock_reruns_its_stage(rerun: Project) -> None:
    path = rerun.folder / "envs" / "report.post-deploy.sh"
    path.write_text(path.read_text(encoding="utf-8") + "# moved\n", encoding="utf-8")
    assert stale(rerun) == set()
    assert rerun.rules(*CUT_DOWN) == {"table": 8, "figure": 9, "page": 1, "all": 1}


def test_results_may_go_elsewhere_and_paths_may_be_odd(tmp_path: Path) -> None:
    project = copied(tmp_path / "an odd pa'th, \"$(touch X)`y` [z]*?;&#%~é|!")
    elsewhere = tmp_path / "-some where$"
    project.run(
        "--workflow-profile", "profiles/demo", "-d", str(elsewhere),
        "results/demo/data/titles/train.parquet", "results/demo/data/dialogues/train.parquet",
    )  # fmt: skip
    assert (elsewhere / "results/demo/data/titles/train.parquet").is_file()
    assert not (project.folder / "results").exists()


def test_a_mistake_in_the_configuration_stops_before_any_job(project: Project) -> None:
    project.edit("demo/config.yaml", "lora: {r: 4, ", "lora: {r: 0, ")
    done = project.run("--workflow-profile", "profiles/demo", check=False)
    assert done.returncode != 0
    assert "demo/config.yaml:" in done.stderr
    assert "experiments.tutor.sft.trials[1].lora.r: found 0" in done.stderr
    assert not (project.folder / "results").exists()


def test_a_file_in_a_folders_place_stops_before_any_job(project: Project) -> None:
    """Snakemake would end with a traceback."""
    for name in ("results/demo/data/titles", "logs/demo/tokens"):
        path = project.folder / name
        path.parent.mkdir(parents=True)
        path.write_text("kept", encoding="utf-8")
        done = project.run("--workflow-profile", "profiles/demo", check=False)
        said = f"{path}: a file where a folder must be; move it away"
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, said)
        assert path.read_text(encoding="utf-8") == "kept"
        path.unlink()


def test_a_folder_that_is_no_hub_stops_before_any_job(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:nowhere")
    done = project.run("--workflow-profile", "profiles/demo", check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "HF_ENDPOINT: found file:nowhere; allowed after file: is a folder that holds"
        " datasets/owner/name or models/owner/name",
    )


def test_a_project_whose_folder_snakemake_would_read_is_refused(tmp_path: Path) -> None:
    project = copied(tmp_path / "a{b}<c>\nd")
    done = project.run("-n", "--workflow-profile", "profiles/demo", check=False)
    assert done.returncode == 1
    (line,) = (it for it in done.stderr.splitlines() if it.startswith("the project's folder"))
    assert line.endswith(
        "allowed are paths without {, }, <, > and control characters, and without :"
    )


def test_unexpected_row_counts_stop_the_run(project: Project) -> None:
    project.edit("demo/config.yaml", "expect: {train: 260, test: 140}", "expect: {train: 261}")
    done = project.run(
        "--workflow-profile", "profiles/demo", "results/demo/data/titles/train.parquet", check=False
    )
    assert done.returncode != 0
    assert "split train has 260 rows, expected 261; dropped: 1 × " in done.stdout + done.stderr


def test_lint_is_clean(project: Project) -> None:
    done = subprocess.run(
        project.command("--lint", "--workflow-profile", "profiles/demo"),
        cwd=project.folder,
        capture_output=True,
        text=True,
    )
    assert "in a good condition" in done.stdout + done.stderr


def test_a_trial_of_two_gpus_asks_for_both_and_is_refused_where_there_is_one(
    project: Project,
) -> None:
    """With a limit of one, Snakemake would silently give it one."""
    project.edit("demo/config.yaml", "{name: sft-r4,", "{name: sft-r4, processes: 2,")
    target = "results/demo/trials/sft-r4/seed-0/trial.json"
    demo = ("-n", target, "--workflow-profile", "profiles/demo")
    done = project.run(*demo, "--printshellcmds")
    text = done.stdout + done.stderr
    assert "python -m scripts.train.processes --count 2 scripts.train.sft --trial" in text
    assert ", gpu=2," in text
    refused = project.run(*demo, "--resources", "gpu=1", check=False)
    line = (
        "trial sft-r4: found processes 2, each on a GPU of its own, under a limit of 1; allowed is"
        " --resources gpu=2 or more"
    )
    assert refused.returncode != 0
    assert line in refused.stdout + refused.stderr


def test_a_models_folder_is_read_as_its_manifest_lists_it(project: Project) -> None:
    """Leftovers of a download, and folders with a dot in their names, are not inputs."""
    folder = write_model(project.folder / "hub").rename(project.folder / "demo" / "model")
    files = {it.name for it in folder.iterdir()} | {"of.it/more.json"}
    for name in ("of.it/more.json", ".cache/one.lock"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("{}", encoding="utf-8")
    config = yaml.safe_load((project.folder / "demo/config.yaml").read_text(encoding="utf-8"))
    config["models"]["demo"]["source"] = {"folder": "model"}
    text = yaml.safe_dump(config, sort_keys=False)
    (project.folder / "demo/config.yaml").write_text(text, encoding="utf-8")
    target = "results/demo/models/demo/manifest.json"
    project.run(target, "--workflow-profile", "profiles/demo")
    listed = [it["name"] for it in read_json(project.folder / target)["files"]]
    assert listed == sorted(files)
    record = read_json(project.folder / target.replace("manifest", "fetch.provenance"))
    assert [Path(it["file"]).name for it in record["inputs"]] == [Path(it).name for it in listed]
    assert project.jobs(target, "--workflow-profile", "profiles/demo") == []
    (folder / "of.it/more.json").write_text("[]", encoding="utf-8")
    assert project.rules(target, "--workflow-profile", "profiles/demo") == {"fetch_model": 1}

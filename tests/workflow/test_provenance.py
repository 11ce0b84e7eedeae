"""The records that the cut-down demo left, and the commands that read them."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, sha256, write_json
from scripts.provenance import crate, record, trace, verify
from scripts.provenance.record import FAILED, SUFFIX
from tests.workflow.conftest import CUT_DOWN, JOB, TOKEN, Project

DEMO = Path("results", "demo")


@pytest.fixture(autouse=True)
def nothing_cached() -> None:
    """Let each test read records and files again."""
    record.forget()


@pytest.fixture(scope="module")
def records(finished: Project) -> dict[str, dict]:
    """Return all records of the finished run by their paths."""
    paths = record.records_in(finished.folder / DEMO)
    return {str(path.relative_to(finished.folder)): read_json(path) for path in paths}


@pytest.fixture
def results(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an editable copy of the finished run's results, below the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.folder / DEMO, tmp_path / DEMO)
    # The base model lies there, and its manifest says so.
    (tmp_path / "demo").symlink_to(finished.folder / "demo")
    return DEMO


def declared(project: Project) -> dict[str, tuple[str, set[str], set[str]]]:
    """Return rule, inputs and outputs of every job of a whole run, by its record."""
    done = project.run(*CUT_DOWN, "-n", "--forceall")
    found = {}
    for rule, body in JOB.findall(done.stdout + done.stderr):
        files = dict(re.findall(r"^    (input|output): (.+)$", body, re.MULTILINE))
        inputs, outputs = (
            {file.removesuffix(" (update)") for file in files.get(kind, "").split(", ")}
            for kind in ("input", "output")
        )
        # The rule `all` makes nothing.
        for own in (file for file in outputs if file.endswith(SUFFIX)):
            found[own] = (rule, inputs, outputs)
    return found


def test_the_token_of_the_environment_stands_in_no_file(finished: Project) -> None:
    """Of results, logs, and what Snakemake keeps; a crate holds these, and configurations."""
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    assert {"results", "logs", ".snakemake"} <= {
        path.relative_to(finished.folder).parts[0] for path in files
    }
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    named = [path for path in finished.folder.rglob("*") if TOKEN in path.name]
    assert named == []


def test_each_job_recorded_what_it_declared(finished: Project, records: dict[str, dict]) -> None:
    jobs = declared(finished)
    assert jobs.keys() == records.keys()
    for path, (rule, inputs, outputs) in jobs.items():
        assert records[path]["rule"] == rule
        assert records[path]["exit"] == 0
        for kind, files in (("inputs", inputs), ("outputs", outputs - {path})):
            recorded = {
                part["file"] if part.get("outside") else f"{DEMO}/{part['file']}": part
                for part in records[path][kind]
            }
            assert recorded.keys() == files, path
            for file, part in recorded.items():
                assert part["sha256"] == sha256(finished.folder / file)
                assert part["bytes"] == (finished.folder / file).stat().st_size


def test_every_input_is_linked_to_its_maker_or_a_source(records: dict[str, dict]) -> None:
    assert records
    makers = {part["file"]: path for path, it in records.items() for part in it["outputs"]}
    for content in records.values():
        for part in content["inputs"]:
            if part.get("outside"):
                assert part["file"].startswith(("demo/", "paper/", "scripts/", "report/"))
            else:
                assert f"{DEMO}/{part['made_by']['file']}" == makers[part["file"]]


def test_a_record_names_what_determines_the_result(records: dict[str, dict]) -> None:
    found = records[f"{DEMO}/trials/dpo-r8/seed-0/train{SUFFIX}"]
    assert (found["trial"], found["seed"]) == ("dpo-r8", 0)
    assert found["seeds"] == {"trial.seed": 0}
    assert found["digests"].keys() == {"model", "tokens", "reference", "trial"}
    assert list(found["templates"]) == ["models/demo/tokenizer/manifest.json#chat_template.jinja"]
    assert found["code"]["module"] == "scripts/train/dpo.py"
    assert found["code"]["edited"] == []
    assert found["env"]["form"] == "train.cpu"
    assert found["env"]["drift"] == found["drift_behind"] == []
    assert {"torch", "trl", "peft"} <= found["env"]["versions"].keys()


def test_nothing_reruns_without_records(rerun: Project) -> None:
    for path in list(record.records_in(rerun.folder / DEMO)):
        path.unlink()
    assert rerun.jobs(*CUT_DOWN) == []


def test_the_record_of_an_interrupted_job_is_deleted_once_it_is_done(finished: Project) -> None:
    assert not list((finished.folder / DEMO).rglob(f"*{FAILED}"))


# ----------------------------------------------------------------------------------------- verify


def test_a_finished_run_verifies(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.verify(results)
    out = capsys.readouterr().out
    assert re.fullmatch(r"\d+ jobs, \d+ files: all as it was made\n", out)


def test_what_no_longer_matches_is_named(results: Path) -> None:
    trial = results / "trials" / "sft-r4" / "seed-0"
    (trial / "items.parquet").write_bytes(b"edited")
    (results / "tables" / "dpo.csv").unlink()
    (results / "models" / "from-scratch" / "snapshot" / "model.safetensors").write_bytes(b"other")
    (results / "models" / "from-scratch" / "snapshot" / "config.json").unlink()
    (trial / "notes.txt").write_text("mine", encoding="utf-8")
    found, _ = verify.findings(results)
    assert sorted((kind, what.split(":")[0].split(",")[0]) for kind, what in found) == [
        ("changed", str(results / "models/from-scratch/snapshot/model.safetensors")),
        ("changed", str(trial / "items.parquet")),
        # Listed in two manifests, the model's and its tokenizer's.
        ("missing", str(results / "models/from-scratch/snapshot/config.json")),
        ("missing", str(results / "models/from-scratch/snapshot/config.json")),
        ("missing", str(results / "tables/dpo.csv")),
        ("no provenance", str(trial / "notes.txt")),
    ]


def test_a_broken_link_is_named(results: Path) -> None:
    """A split and its record are replaced by hand: the jobs that read the old one are named."""
    data = results / "data" / "dialogues"
    shutil.copy(data / "test.parquet", data / "train.parquet")
    path = data / f"prepare{SUFFIX}"
    content = read_json(path)
    for part in content["outputs"]:
        part |= {"sha256": sha256(results / part["file"])}
    write_json(path, content)
    found, _ = verify.findings(results)
    assert {kind for kind, _ in found} == {"broken link"}
    tokens = results / "tokens" / "dialogues.demo.chat.128" / f"tokenize{SUFFIX}"
    whole = f"{tokens} read data/dialogues/train.parquet as "
    assert any(what.startswith(whole) and f"{path} made" in what for _, what in found)
    again = f"made by data/dialogues/prepare{SUFFIX}, which was written again since"
    assert any(what == f"{tokens} read data/dialogues/test.parquet, {again}" for _, what in found)


def test_a_folder_without_provenance_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no provenance"):
        verify.findings(tmp_path)


# ------------------------------------------------------------------------------------------ trace


def traced(capsys: pytest.CaptureFixture[str], item: Path, *cell: str, whole: bool = False) -> str:
    """Return what is printed for an item, or for the cell of a row and a column."""
    trace.show(item, *cell, whole=whole)
    return capsys.readouterr().out


def test_a_cell_is_traced_to_the_rows_of_its_source(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = results / "tables" / "dpo.csv"
    out = traced(capsys, table, "dpo-r8", "Preference accuracy", whole=True)
    items = [
        row
        for row in read_rows(results / "trials" / "dpo-r8" / "seed-0" / "items.parquet")
        if row["metric"] == "preference_accuracy"
    ]
    groups = len({row["group"] for row in items})
    assert f"{len(items)} items in {groups} groups, rows of data/dialogues/test.parquet" in out
    for row in items:
        number = int(row["id"].removeprefix("train-")) + 1
        assert f"{row['id']}, row {number} of the source's split train, group" in out
    steps = re.findall(r"[─ ](\w+) → ", out)
    assert steps[:4] == ["table", "aggregate", "measure", "score"]
    assert {"train", "reference", "tokenize", "prepare_dataset"} <= set(steps)
    assert {"fetch_dataset", "fetch_model"} <= set(steps)
    assert "demo/corpora/dialogues.jsonl" in out
    # Nothing belongs to other trials, other metrics or other sets of prompts.
    assert "titles" not in out
    assert "sft-r4" not in out
    assert "generations" not in out
    for mark in ("changed since", "not here", "broken link"):
        assert mark not in out


@pytest.mark.parametrize(
    ("table", "row", "column", "behind"),
    [
        ("sft", "sft-r4 problems", "exact match", "data/problems/test.parquet"),
        ("sft", "sft-r4, set: problems", "bleu", "data/problems/test.parquet"),
        ("sft", "sft-r4", "held_out_loss", "data/problems/test.parquet"),
        ("dpo", "headlines/lookup", "preference_accuracy", "data/titles/test.parquet"),
        ("seeds", "dpo-r8 seed 0 problems", "preference_accuracy", "data/dialogues/test.parquet"),
        ("metrics", "dpo-r8 group bootstrap", "margin", "data/dialogues/test.parquet"),
        ("differences", "sft-r16 demo", "held_out_loss", "data/problems/test.parquet"),
        ("dpo", "dpo-r8", "learning rate", None),
    ],
)
def test_any_reasonable_name_of_a_cell_is_understood(
    results: Path, capsys: pytest.CaptureFixture[str],
    table: str, row: str, column: str, behind: str | None,
) -> None:  # fmt: skip
    out = traced(capsys, results / "tables" / f"{table}.md", row, column)
    assert "fetch_dataset → " in out
    found = re.findall(r"\d+ items in \d+ groups, rows of (\S+)", out)
    assert found == ([behind] if behind else [])


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ("dpo-r9", "margin", r"has no row 'dpo-r9' .* allowed: experiment tutor trial dpo-r8;"),
        ("dpo-r8", "bleu", r"has no column 'bleu'; allowed: title, seeds, .*preference_accuracy,"),
        ("lookup", "preference_accuracy", r"'lookup' is more than one row; say which of: "),
    ],
)
def test_for_a_missing_cell_those_that_exist_are_listed(
    results: Path, row: str, column: str, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        trace.show(results / "tables" / "dpo.csv", row, column)


def test_a_trace_marks_what_changed_since(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "trials" / "dpo-r8" / "metrics.json").write_text("{}", encoding="utf-8")
    out = traced(capsys, results / "figures" / "accuracy.png")
    assert "changed since: trials/dpo-r8/metrics.json" in out
    assert "changed since: trials/titles-r16/metrics.json" not in out


def test_a_job_that_is_shown_again_still_has_its_marks(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One job made both splits of tokens; training reads one, scoring the other."""
    tokens = results / "tokens" / "dialogues.demo.chat.128"
    for split in ("train", "test"):
        (tokens / f"{split}.parquet").write_bytes(b"edited")
    out = traced(capsys, results / "tables" / "dpo.csv", whole=True)
    for split in ("train", "test"):
        assert f"changed since: tokens/dialogues.demo.chat.128/{split}.parquet" in out
    # A wrong link of one job does not mark the others.
    record.forget()
    path = results / "trials" / "dpo-r8" / "seed-0" / f"score{SUFFIX}"
    content = read_json(path)
    part = next(it for it in content["inputs"] if it["file"].startswith("tokens/"))
    part["sha256"] = "0" * 64
    write_json(path, content)
    out = traced(capsys, results / "tables" / "dpo.csv", whole=True)
    assert out.count(f"broken link: {part['file']} was read with other content") == 1


@pytest.mark.parametrize("file", ["metrics.json", "seed-0/items.parquet"])
def test_no_mark_is_hidden_among_many_similar_jobs(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """Neither a mark on a job itself nor one on the jobs behind it."""
    monkeypatch.setattr(trace, "FEW", 1)
    item = results / "tables" / "metrics.csv"
    folders = sorted((results / "trials").iterdir())
    assert len(folders) > 2
    hidden = f"… and {len(folders) - 1} more jobs of aggregate"
    out = traced(capsys, item)
    assert hidden in out
    assert "with marks" not in out
    for count, folder in enumerate(folders):
        record.forget()
        (folder / file).write_bytes(b"edited")
        out = traced(capsys, item)
        assert hidden in out
        assert "changed since: trials/" in out
        assert (f"{count} of them with marks, their own" in out) == (count > 0)


def test_a_result_without_its_record_is_no_source(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = "trials/dpo-r8/seed-0"
    (results / trial / f"train{SUFFIX}").unlink()
    out = traced(capsys, results / "tables" / "dpo.csv")
    adapter = f"{DEMO}/{trial}/adapter/adapter_model.safetensors"
    assert re.search(rf"─ {adapter}  [0-9a-f]+, [\d,]+ bytes", out)
    assert f"broken link: made by {trial}/train{SUFFIX}, which is gone" in out
    assert f"source {DEMO}" not in out
    assert re.search(r"source \S*demo/corpora/", out)


def test_a_file_that_no_job_ever_made_is_no_source(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / "data" / "dialogues" / f"prepare{SUFFIX}"
    content = read_json(path)
    content["inputs"][0].pop("made_by")
    write_json(path, content)
    (results / "data" / "dialogues" / f"fetch{SUFFIX}").unlink()
    out = traced(capsys, results / "tables" / "dpo.csv")
    assert "broken link: no job says that it made it" in out


def test_what_has_no_provenance_cannot_be_traced(results: Path) -> None:
    (results / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BadInput, match=r"no \*\.provenance\.json beside it names it"):
        trace.show(results / "notes.txt")
    with pytest.raises(BadInput, match="no such file"):
        trace.show(results / "nothing.txt")


# ------------------------------------------------------------------------------------------ crate


def references(value: object) -> list[str]:
    """Return every id that an entity refers to."""
    if isinstance(value, list):
        return [name for item in value for name in references(item)]
    return [value["@id"]] if isinstance(value, dict) else []


def test_the_crate_holds_the_run_and_every_reference_resolves(
    results: Path, records: dict[str, dict], tmp_path: Path
) -> None:
    from rocrate.rocrate import ROCrate

    out = tmp_path / "demo.crate.zip"
    assert crate.pack(results, [Path(__file__)], out).startswith(f"{out}: {len(records)} jobs, ")
    with zipfile.ZipFile(out) as archive:
        names = set(archive.namelist())
        metadata = json.loads(archive.read("ro-crate-metadata.json"))
    graph = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(graph) == len(metadata["@graph"])
    loose = {
        name
        for entity in graph.values()
        for key, value in entity.items()
        if not key.startswith("@")
        for name in references(value)
        if name not in graph and not name.startswith("https://")
    }
    assert loose == set()
    files = {name for name, it in graph.items() if "File" in it["@type"]}
    assert files <= names
    for wanted in (
        "Snakefile", "rules/train.smk", "scripts/train/dpo.py", "envs/train.cpu.post-deploy.sh",
        "config/test_provenance.py", "results/tables/dpo.csv", "results/figures/curves.pdf",
        "results/trials/dpo-r8/seed-0/adapter/adapter_model.safetensors",
        "results/trials/dpo-r8/seed-0/items.parquet",
        f"results/trials/dpo-r8/seed-0/train{SUFFIX}", "results/models/demo/manifest.json",
    ):  # fmt: skip
        assert wanted in files
    assert "as they were when the crate was made" in graph["Snakefile"]["description"]
    # Rows of datasets and weights of the base are not copied.
    assert not any(name.endswith("model.safetensors") and "adapter" not in name for name in names)
    assert "results/data/dialogues/train.parquet" not in names
    assert graph["#results/data/dialogues/train.parquet"]["sha256"] == sha256(
        results / "data" / "dialogues" / "train.parquet"
    )
    read = ROCrate(out)
    actions = read.get_by_type("CreateAction")
    assert len(actions) == len(records) + 1
    train = read.get("#job/trials/dpo-r8/seed-0/train")
    assert train["instrument"]["name"] == "scripts/train/dpo.py"
    made = {entity.id for entity in train["result"]}
    assert "results/trials/dpo-r8/seed-0/adapter/adapter_model.safetensors" in made
    score = read.get("#job/trials/dpo-r8/seed-0/score")
    assert made & {entity.id for entity in score["object"]}
    assert train["startTime"] < train["endTime"]


def test_the_same_run_gives_the_same_crate(results: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        crate.pack(results, [], out, "A. N. Other")
    files = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert files == {path.relative_to(second) for path in second.rglob("*") if path.is_file()}
    name = "ro-crate-metadata.json"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_both_of_two_configurations_of_one_name_are_packed(results: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name / "config.yaml" for name in ("first", "second")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(f"# {path.parent.name}\n", encoding="utf-8")
    crate.pack(results, paths, tmp_path / "out")
    packed = sorted((tmp_path / "out" / "config").rglob("*.yaml"))
    assert [path.read_text(encoding="utf-8") for path in packed] == ["# first\n", "# second\n"]


def refused(results: Path, out: Path) -> str:
    """Return the error for a crate that was not made."""
    with pytest.raises(BadInput) as caught:
        crate.pack(results, [], out)
    assert not out.exists()
    return str(caught.value)


def test_what_is_not_as_it_was_made_is_not_packed(results: Path, tmp_path: Path) -> None:
    """A file that no job made does not matter: it is not packed."""
    (results / "notes.txt").write_text("mine", encoding="utf-8")
    crate.pack(results, [], tmp_path / "whole")
    assert not (tmp_path / "whole" / "results" / "notes.txt").exists()
    record.forget()
    (results / "trials" / "dpo-r8" / "metrics.json").write_text("{}", encoding="utf-8")
    why = refused(results, tmp_path / "crate")
    assert why.startswith("results/demo: 1 files or links are not as they were made")
    assert "`prefmake verify results/demo` names them" in why


def test_a_crate_holds_no_other_code_than_the_jobs_ran(results: Path, tmp_path: Path) -> None:
    # No job reads what the page's job made.
    path = results / f"report{SUFFIX}"
    content = read_json(path)
    module, env = content["code"]["module"], content["env"]
    content["code"]["files"] |= {module: "0" * 64, "scripts/gone.py": "0" * 64}
    env["digest"] = "0" * 16
    write_json(path, content)
    why = refused(results, tmp_path / "crate")
    assert "its jobs ran other code than there is now" in why
    assert why.endswith(f": envs/{env['form']}, scripts/gone.py, {module}")


def test_an_unfinished_run_and_a_folder_in_the_way_are_refused(
    results: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(BadInput, match="is no RO-Crate, and is not replaced"):
        crate.pack(results, [], tmp_path / "mine")
    shutil.rmtree(results / "tables")
    with pytest.raises(BadInput, match="no tables with provenance"):
        crate.pack(results, [], tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()

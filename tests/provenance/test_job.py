"""The wrapper of every job: the signals that it passes on, and the record that it writes."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.provenance import digests, environment, job
from scripts.provenance import record as provenance
from tests.conftest import ROOT

Record = dict[str, object]
WAIT = 60
"""Seconds until a process must have ended."""


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder for results; no env drifts."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(environment, "drift", lambda env, accelerator: [])
    provenance.forget()
    digests.forget()
    yield folder
    digests.forget()


def wrapped(results: Path, step: str, *command: str, inputs: object = (), outputs: object = (),
            words: tuple[str, ...] = ()) -> list[str]:  # fmt: skip
    """Return the arguments of the wrapper around a command."""
    return [
        "--rule", "rule", "--env", "train", "--accelerator", "cpu", "--results", str(results),
        "--provenance", str(results / f"{step}.provenance.json"), *words,
        "--inputs", *map(str, inputs), "--outputs", *map(str, outputs), "--", *command,
    ]  # fmt: skip


def record_of(results: Path, step: str) -> Record:
    return read_json(results / f"{step}.provenance.json")


def test_a_record_names_what_was_read_and_made_and_how(results: Path) -> None:
    source = results.parent / "source.jsonl"
    source.write_text("{}\n", encoding="utf-8")
    made = results / "data" / "x" / "raw.parquet"
    made.parent.mkdir(parents=True)
    trial = json.dumps({"name": "a", "seed": 3, "trainer": {"seed": 4}})
    command = (sys.executable, "-c", f"open({str(made)!r}, 'w').write('rows')", "--trial", trial)
    arguments = wrapped(results, "data/x/fetch", *command, inputs=[source], outputs=[made])
    assert job.main(arguments) == 0
    found = record_of(results, "data/x/fetch")
    assert found["schema"] == provenance.SCHEMA
    assert found["file"] == "data/x/fetch.provenance.json"
    assert found["command"] == list(command)
    assert found["exit"] == 0
    assert found["started"] <= found["ended"]
    assert found["ended"].endswith("Z")
    assert found["seeds"] == {"trial.seed": 3, "trial.trainer.seed": 4}
    assert found["inputs"] == [
        {"file": str(source), "outside": True, "sha256": sha256(source), "bytes": 3}
    ]
    assert found["outputs"] == [{"file": "data/x/raw.parquet", "sha256": sha256(made), "bytes": 4}]
    assert found["env"]["form"] == "train.cpu"
    assert found["env"]["digest"] == environment.env_digest("train", "cpu")
    assert found["env"]["versions"]["peft"] == version("peft")
    assert "pytest" not in found["env"]["versions"]
    assert found["drift_behind"] == []
    assert found["machine"]["system"] == "Linux" or sys.platform != "linux"


def test_an_input_names_the_record_of_the_job_that_made_it(results: Path) -> None:
    first, second = results / "trials" / "a" / "one.json", results / "two.json"
    inner = results / "trials" / "a" / "adapter" / "weights"
    inner.parent.mkdir(parents=True)
    make = f"from pathlib import Path; Path({str(first)!r}).touch(); Path({str(inner)!r}).touch()"
    command = (sys.executable, "-c", make)
    job.main(wrapped(results, "trials/a/train", *command, outputs=[first, inner]))
    copy = (sys.executable, "-c", f"open({str(second)!r}, 'w')")
    job.main(wrapped(results, "two", *copy, inputs=[first, inner], outputs=[second]))
    made_by = {
        "file": "trials/a/train.provenance.json",
        "sha256": sha256(results / "trials/a/train.provenance.json"),
    }
    assert [part["made_by"] for part in record_of(results, "two")["inputs"]] == [made_by, made_by]
    assert record_of(results, "trials/a/train")["trial"] == "a"


@pytest.mark.parametrize("now", ["rows, edited", "ro", "", "swor"])
def test_an_input_that_is_not_what_its_job_made_is_named(results: Path, now: str) -> None:
    made, other = results / "data/x/raw.parquet", results / "data/x/train.parquet"
    made.parent.mkdir(parents=True)
    write = (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write('rows')")
    job.main(wrapped(results, "data/x/fetch", *write, str(made), outputs=[made]))
    made.write_text(now, encoding="utf-8")
    provenance.forget()
    arguments = wrapped(
        results, "data/x/prepare", *write, str(other), inputs=[made], outputs=[other]
    )
    with pytest.raises(BadInput) as refused:
        job.main(arguments)
    assert str(refused.value) == (
        f"{made}: found {len(now)} bytes, not the 4 that rule rule made, or others; delete it, and "
        "snakemake makes it again"
    )
    assert not other.exists()


def test_a_failed_command_leaves_its_record_under_another_name(results: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit(7)")
    assert job.main(wrapped(results, "x", *command)) == 7
    assert read_json(results / "x.provenance.failed.json")["exit"] == 7
    assert not (results / "x.provenance.json").exists()
    assert job.main(wrapped(results, "x", sys.executable, "-c", "")) == 0
    assert [path.name for path in results.iterdir()] == ["x.provenance.json"]


def test_a_missing_output_fails_the_job(results: Path) -> None:
    missing = results / "missing.json"
    with pytest.raises(BadInput, match=r"rule rule: .*missing\.json"):
        job.main(wrapped(results, "x", sys.executable, "-c", "", outputs=[missing]))
    assert not (results / "x.provenance.json").exists()


def test_a_full_disk_is_named_and_does_not_hide_a_failure(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: str, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(job, "write_json", full)
    assert job.main(wrapped(results, "x", sys.executable, "-c", "raise SystemExit(7)")) == 7
    assert "x.provenance.failed.json: not written: No space left" in capsys.readouterr().err
    with pytest.raises(
        BadInput, match=r"rule rule: .*x\.provenance\.json: No space left on device"
    ):
        job.main(wrapped(results, "x", sys.executable, "-c", ""))


def test_a_missing_input_is_named(results: Path) -> None:
    missing = results / "missing.json"
    with pytest.raises(BadInput, match=r"rule rule: .*missing\.json: No such file"):
        job.main(wrapped(results, "x", sys.executable, "-c", "", inputs=[missing]))


def test_gpus_are_described_as_by_nvidia_smi() -> None:
    line = "NVIDIA H100 80GB HBM3, GPU-1b2c, 81559 MiB, 570.86.15"
    assert job.gpus_of([line]) == [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-1b2c",
            "memory.total": "81559 MiB",
            "driver_version": "570.86.15",
        }
    ]
    assert job.gpus_of(None) is None


def test_a_drifted_env_stops_the_job_unless_that_is_allowed(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "drift", lambda env, accelerator: ["torch: 1 is locked"])
    mark = results / "ran"
    command = (sys.executable, "-c", f"open({str(mark)!r}, 'w')")
    with pytest.raises(BadInput, match="torch: 1 is locked"):
        job.main(wrapped(results, "x", *command))
    assert not mark.exists()
    assert job.main(wrapped(results, "x", *command, words=("--allow-env-drift",))) == 0
    assert record_of(results, "x")["env"]["drift"] == ["torch: 1 is locked"]


def test_drift_is_recorded_by_all_later_jobs(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [results / name / "file" for name in "abc"]
    for file in files:
        file.parent.mkdir()
    for number, file in enumerate(files):
        differences = [] if number else ["torch: 1 is locked"]
        monkeypatch.setattr(environment, "drift", lambda *_, found=differences: found)
        command = (sys.executable, "-c", f"open({str(file)!r}, 'w')")
        arguments = wrapped(
            results, f"{file.parent.name}/made", *command, inputs=files[:number][-1:],
            outputs=[file], words=("--allow-env-drift",),
        )  # fmt: skip
        assert job.main(arguments) == 0
    assert [record_of(results, f"{name}/made")["drift_behind"] for name in "abc"] == [
        [],
        ["a/made.provenance.json"],
        ["a/made.provenance.json"],
    ]


def test_nothing_is_compared_in_an_env_that_snakemake_made(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environment, "drift", lambda env, accelerator: ["torch: 1 is locked"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "conda" / "1234_"))
    (tmp_path / "conda").mkdir()
    (tmp_path / "conda" / "1234_.env_setup_done").touch()
    assert job.main(wrapped(results, "x", sys.executable, "-c", "")) == 0
    assert record_of(results, "x")["env"]["made_by_snakemake"]


def test_an_edit_while_the_job_runs_is_recorded(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "module.py").write_text("import scripts.helper\n", encoding="utf-8")
    (scripts / "helper.py").write_text("x = 1\n", encoding="utf-8")
    (scripts / "other.py").write_text("x = 1\n", encoding="utf-8")
    for module in (digests, job):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    before = digests.code_digest("scripts/module.py")
    edit = "".join(
        f"open({str(scripts / name)!r}, 'w').write('x = 2');" for name in ("helper.py", "other.py")
    )
    command = (sys.executable, "-c", edit, "-m", "scripts.module")
    assert job.main(wrapped(results, "x", *command)) == 0
    code = record_of(results, "x")["code"]
    assert code["digest"] == before
    assert code["edited"] == ["scripts/helper.py"]
    assert set(code["files"]) == {"scripts/module.py", "scripts/helper.py"}


def test_code_or_an_env_that_was_edited_since_the_plan_does_not_run(
    results: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    command = (sys.executable, "-c", f"open({str(made)!r}, 'w')", "-m", "scripts.data.fetch")
    planned = {
        "--code": digests.code_digest("scripts/data/fetch.py"),
        "--env-digest": environment.env_digest("train", "cpu"),
    }
    for option, what in (("--code", "scripts/data/fetch.py"), ("--env-digest", "train.cpu")):
        edited = planned | {option: "another"}
        words = tuple(word for pair in edited.items() for word in pair)
        with pytest.raises(BadInput, match=rf"rule: .*{what}.* was edited since"):
            job.main(wrapped(results, "x", *command, words=words))
        assert not made.exists()
    words = tuple(word for pair in planned.items() for word in pair)
    assert job.main(wrapped(results, "x", *command, words=words)) == 0
    assert made.exists()


WAITING = """
import os, signal, sys
got = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, lambda number, frame: got.append(number))
print(os.getpid(), flush=True)
while not got:
    signal.pause()
print(*got, flush=True)
sys.exit(9)
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Start]:
    """Yield a function that starts the wrapper around a command, in its own process group.

    The wrapper ignores no signal, even if this process does. It is killed after the test.
    """
    forms = [it for it in environment.ACCELERATORS if not environment.drift("train", it)]
    if not forms:
        pytest.skip("what is installed here is neither form of the env train: a job would stop")
    processes = []

    def restore() -> None:
        for number in job.PASSED_ON:
            signal.signal(number, signal.SIG_DFL)

    def start(*command: str) -> subprocess.Popen[str]:
        words = wrapped(tmp_path, "x", *command)
        words[words.index("cpu")] = forms[0]
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.provenance.job", *words],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            preexec_fn=restore,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(WAIT)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP],
    ids=lambda number: number.name,
)
def test_a_signal_to_the_whole_group_reaches_the_command_once(
    tmp_path: Path, started: Start, number: signal.Signals
) -> None:
    process = started(sys.executable, "-c", WAITING)
    assert process.stdout.readline()
    os.killpg(process.pid, number)
    assert process.communicate(timeout=WAIT)[0].split() == [str(int(number))]
    assert process.returncode == 9
    assert read_json(tmp_path / "x.provenance.failed.json")["exit"] == 9


def test_the_command_ignores_what_nohup_ignores(
    results: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert job.main(wrapped(results, "x", sys.executable, "-c", said)) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capfd.readouterr().out.split() == ["True"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "ended by SIGKILL, as when memory runs out\n"),
        (signal.SIGSEGV, "ended by SIGSEGV: a fault in a library, or a file that it cannot read\n"),
        (signal.SIGFPE, "ended by SIGFPE\n"),
        (signal.SIGTERM, ""),
    ],
)
def test_the_exit_code_and_a_line_say_which_signal_ended_the_command(
    results: Path, capfd: pytest.CaptureFixture[str], number: signal.Signals, said: str
) -> None:
    code = f"import os; os.kill(os.getpid(), {int(number)})"
    assert job.main(wrapped(results, "x", sys.executable, "-c", code)) == 128 + number
    assert capfd.readouterr().err == (said and f"error: {sys.executable}: {said}")


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals a child when its parent dies"
)
def test_a_killed_wrapper_stops_its_command(started: Start) -> None:
    process = started(sys.executable, "-c", WAITING)
    assert process.stdout.readline()
    process.kill()
    # The command holds the pipe open until it ends.
    assert process.communicate(timeout=WAIT)[0].split() == [str(int(signal.SIGTERM))]


@pytest.mark.parametrize(("words", "read"), [((), ""), (("--stdin",), "y\n")])
def test_standard_input_is_closed_unless_the_command_reads_it(
    results: Path, words: tuple[str, ...], read: str
) -> None:
    """A library that asks there whether to run a model's code gets no answer."""
    copied = results / "copied"
    program = f"import sys; open({str(copied)!r}, 'w').write(sys.stdin.read())"
    command = wrapped(results, "x", sys.executable, "-c", program, words=words)
    line = "from scripts.provenance import environment, job; environment.drift = lambda *_: []; "
    subprocess.run(
        [sys.executable, "-c", f"{line}job.main({command!r})"],
        input="y\n", text=True, check=True, cwd=ROOT, timeout=WAIT,
    )  # fmt: skip
    assert copied.read_text() == read


def test_a_thousand_inputs_come_through_a_descriptor(results: Path, tmp_path: Path) -> None:
    files = [results / f"it's {i}" / f"{'x' * 150}.json" for i in range(1000)]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name, encoding="utf-8")
    names = tmp_path / "names"
    names.write_text(" ".join(shlex.quote(str(file)) for file in files) + "\n", encoding="utf-8")
    with open(names, encoding="utf-8") as words:
        descriptor = os.dup(words.fileno())
        arguments = wrapped(results, "x", "true", words=("--inputs-from", str(descriptor)))
        assert job.main(arguments) == 0
    found = record_of(results, "x")["inputs"]
    assert [part["file"] for part in found] == [str(file.relative_to(results)) for file in files]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (None, None),
        (["# branch.oid abc", "# branch.head main"], ("abc", [])),
        (["# branch.oid (initial)", "? scripts/new.py"], (None, ["scripts/new.py"])),
        (["# branch.oid abc", "? notes.txt", "? results2/"], ("abc", [])),
        (
            [
                "# branch.oid abc",
                "2 R. N... 100644 100644 100644 a b R100 rules/c d.smk\trules/c.smk",
            ],
            ("abc", ["rules/c d.smk"]),
        ),
        (
            ["# branch.oid abc", "u UU N... 100644 100644 100644 100644 a b c rules/a b.smk"],
            ("abc", ["rules/a b.smk"]),
        ),
        (
            ["# branch.oid abc", "1 .M N... 100644 100644 100644 a b rules/a b.smk"],
            ("abc", ["rules/a b.smk"]),
        ),
    ],
    ids=["no git", "clean", "new module", "not the project's", "renamed", "unmerged", "edited"],
)
def test_the_commit_and_what_differs_are_read_from_git_status(
    lines: list[str] | None, found: object
) -> None:
    git = job.git_of(lines)
    if found is None:
        assert git is None
    else:
        assert (git["commit"], git["changed"], git["dirty"]) == (*found, bool(found[1]))


def test_git_is_run_where_there_is_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "ROOT", tmp_path)
    status = ("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch")
    assert job.answer(job.ask(*status)) is None
    assert job.answer(job.ask("no-such-program")) is None
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert job.git_of(job.answer(job.ask(*status)))["commit"] is None


WRITE = """
import sys
from pathlib import Path
made, text, runs = sys.argv[1:]
Path(made).parent.mkdir(parents=True, exist_ok=True)
Path(made).write_text(text)
with open(runs, "a") as file:
    file.write(text + " ")
"""


def kept_job(results: Path, text: str, *words: str, program: str = WRITE) -> tuple[Path, list[str]]:
    """Return a job's output, and the arguments of the job, which writes a text and notes it."""
    made, source = results / "trials/a/seed-0/adapter/weights", results.parent / "source"
    if not source.exists():
        source.write_text("rows", encoding="utf-8")
    command = (sys.executable, "-c", program, str(made), text, str(results.parent / "runs"))
    words = ("--keep", *words)
    step = "trials/a/seed-0/train"
    return made, wrapped(results, step, *command, inputs=[source], outputs=[made], words=words)


def made_by(results: Path, text: str, *words: str) -> str:
    """Run such a job after Snakemake removed what it made before; return what it made."""
    made, arguments = kept_job(results, text, *words)
    made.unlink(missing_ok=True)
    Path(results, "trials/a/seed-0/train.provenance.json").unlink(missing_ok=True)
    provenance.forget()
    assert job.main(arguments) == 0
    return made.read_text(encoding="utf-8")


def runs(results: Path) -> list[str]:
    return Path(results.parent, "runs").read_text(encoding="utf-8").split()


def test_going_back_puts_back_what_was_made_before_with_its_record(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_by(results, "one")
    before = record_of(results, "trials/a/seed-0/train")
    made_by(results, "two")
    assert made_by(results, "one") == "one"
    assert record_of(results, "trials/a/seed-0/train") == before
    assert "rule rule: put back what it made before" in capsys.readouterr().err
    assert made_by(results, "two") == "two"
    assert runs(results) == ["one", "two"]


def test_one_version_before_the_last_is_kept(results: Path) -> None:
    for text in ("one", "two", "three", "two", "one"):
        made_by(results, text)
    assert runs(results) == ["one", "two", "three", "one"]
    assert len(list(results.glob(".kept/trials/a/seed-0/train/*/record.json"))) == 2
    assert [it.name for it in provenance.records_in(results)] == ["train.provenance.json"]


def test_what_nothing_changed_for_is_made_again(results: Path) -> None:
    """It was deleted or forced; neither would help if the same came back."""
    made_by(results, "one")
    made_by(results, "one")
    assert runs(results) == ["one", "one"]


def test_what_only_has_a_newer_input_is_put_back(results: Path) -> None:
    """An input that is put back has a new time."""
    made_by(results, "one")
    os.utime(results.parent / "source")
    made_by(results, "one")
    assert runs(results) == ["one"]


def test_after_a_try_that_failed_the_version_before_it_is_put_back(results: Path) -> None:
    made_by(results, "one")
    _, arguments = kept_job(results, "two", program="raise SystemExit(3)")
    assert job.main(arguments) == 3
    assert made_by(results, "one") == "one"
    assert runs(results) == ["one"]


@pytest.mark.parametrize("what", ["inputs", "code", "env", "a file that is cut"])
def test_what_was_made_from_something_else_is_not_put_back(
    results: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    made_by(results, "one")
    made_by(results, "two")
    if what == "inputs":
        (results.parent / "source").write_text("other rows", encoding="utf-8")
    elif what == "code":
        monkeypatch.setattr(job, "check_planned", lambda *_: None)
        words = ["--code", "another"]
    elif what == "env":
        monkeypatch.setattr(environment, "drift", lambda env, accelerator: ["peft 0.1"])
        words = ["--allow-env-drift"]
    else:
        for kept in results.glob(".kept/trials/a/seed-0/train/*/0"):
            kept.write_text("cut", encoding="utf-8")
    assert made_by(results, "one", *words) == "one"
    assert runs(results) == ["one", "two", "one"]


def test_what_cannot_be_kept_is_made_all_the_same(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    monkeypatch.setattr("scripts.provenance.kept.put", full)
    assert made_by(results, "one") == "one"
    assert "x: not kept: No space left on device" in capsys.readouterr().err
    assert record_of(results, "trials/a/seed-0/train")["exit"] == 0

"""Bad input of every kind: one line says where and what to do, and nothing that was there is lost.

Each case is a folder of files and a command as people or rules call it. What the command says is
held against the case; every file that was there before must be as it was.
"""

import ctypes
import gzip
import importlib
import json
import os
import re
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest

from scripts.__main__ import main as prefmake
from scripts.common.cli import run
from scripts.provenance.record import forget as record_forget
from tests.conftest import SETTINGS
from tests.hub.repositories import COMMIT, MODEL, write_model
from tests.hub.server import Fault, Hub
from tests.models.test_manifest import BROKEN
from tests.provenance.test_verify import record
from tests.rating.study import Study
from tests.report.conftest import PAIRS, Results, generated, preferred
from tests.train.conftest import resolved

KINDS = ("configs", "data", "models", "machine", "security")
FEWEST = 150
"""Cases that docs/reliability.md promises."""
SECONDS = 2.0
"""Of the processor's time, in which each case is told."""
EARLIER = b"an earlier result"

Content = str | bytes | Callable[[Path], object]
"""A file: its text, its bytes, or what writes it."""


@dataclass
class Place:
    """The folder of a case, which is the working directory, and what is set up around it."""

    folder: Path
    patch: pytest.MonkeyPatch
    request: pytest.FixtureRequest
    around: list[AbstractContextManager[object]] = field(default_factory=list)
    """What begins and ends with the command."""

    def model(self) -> Path:
        """Copy the tiny model to model/, with its manifest, and return that folder."""
        made = self.request.getfixturevalue("tiny_model")
        shutil.copytree(made.parent, self.folder / "model")
        return self.folder / "model" / "snapshot"

    def hub(self, *roots: Path, **options: Any) -> Hub:
        """Start a hub on the loopback interface."""
        return self.request.getfixturevalue("loopback")(*roots, **options)


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes
    ----------
    words
        The command: `prefmake` or a module of scripts/, and its arguments.
    place, remedy
        What the line says of where it is, and of what was found, is allowed or can be done.
    files
        Those that are there before, by name.
    before
        What else is to be set up.
    leaves
        Patterns of files that the command leaves: of a job that failed, its record.
    lines
        Those of the message; each file of several that are missing has one of its own.
    """

    kind: str
    name: str
    words: list[str]
    place: str
    remedy: str
    files: dict[str, Content] = field(default_factory=dict)
    before: Sequence[Callable[[Place], object]] = ()
    leaves: tuple[str, ...] = ()
    lines: int = 1


# fmt: off
# ----------------------------------------------------------------------------------------- configs

CONFIG = """\
models:
  m: {source: {hub: a/b, revision: main}}
datasets:
  sums:
    format: instruction
    source: {file: {train: sums.jsonl}}
    splits: {by: group, test: 0.5}
  pairs:
    format: pairs
    source: {file: {train: pairs.jsonl}}
    splits: {by: source, train: 'train[:2]', test: 'train[2:]'}
experiments:
  e:
    model: m
    sft: {dataset: sums, trials: [{name: s}]}
    preference: {dataset: pairs, trials: [{name: d, start: s}]}
"""
SUMS = {"prompt": "1 + 1", "completion": "2"}
PAIR = {"prompt": "1 + 1", "chosen": "2", "rejected": "3"}


Mistake = tuple[str, str, str, str, str]
"""A name, what is replaced by what, and the place and the remedy that are told."""

GOOD_SFT, GOOD_DPO = "trials: [{name: s}]", "{name: d, start: s}"
GENERATE = "model: m\n    generate: {{g: {}}}"
MISTAKES: list[Mistake] = [
    # Names: of keys, and of what is defined elsewhere.
    ("a typo in a key", "dataset: sums", "dataset: sums, tests: test",
     "15: experiments.e.sft.tests: ", "unknown key; allowed: dataset, template"),
    ("a typo in a trial's key", GOOD_SFT, "trials: [{name: s, rank: 8}]",
     "15: experiments.e.sft.trials[0].rank: ", "unknown key; allowed: name, "),
    ("a model that is not defined", "model: m", "model: n", '14: experiments.e.model: found "n"',
     "not defined; allowed: m"),
    ("a dataset that is not defined", "dataset: sums", "dataset: sum",
     '15: experiments.e.sft.dataset: found "sum"', "allowed: sums, pairs"),
    ("a dataset of another kind", "dataset: sums", "dataset: pairs",
     "15: experiments.e.sft.dataset: pairs has the format pairs", "sft needs instruction"),
    ("a start that is not defined", "start: s", "start: t",
     '16: experiments.e.preference.trials[0].start: found "t"', "allowed: s"),
    ("a trial that starts from itself", "start: s", "start: d",
     '16: experiments.e.preference.trials[0].start: found "d"', "allowed: s"),
    ("two trials of one name", "name: d", "name: s",
     "16: experiments.e.preference.trials[0].name: ", "is also the name of experiments.e.sft"),
    ("a trial named as the base", GOOD_SFT, "trials: [{name: s}, {name: base}]",
     "15: experiments.e.sft.trials[1].name: found base", "allowed are names but base and lookup"),
    ("a name in capitals", "name: d", "name: Dpo",
     '16: experiments.e.preference.trials[0].name: found "Dpo"', "pattern '^[a-z0-9][a-z0-9-]*$'"),
    ("a name of 300 letters", "name: d", f"name: {'d' * 300}",
     "16: experiments.e.preference.trials[0].name: found ", "at most 100 characters"),
    ("a split that the data lack", "dataset: sums", "dataset: sums, valid: valid",
     '15: experiments.e.sft.valid: found "valid"', "allowed: train, test"),
    ("trained and tested on one split", "dataset: sums", "dataset: sums, test: train",
     "15: experiments.e.sft.test: found train", "sft trains on this split"),
    ("no template of this name", "model: m", "model: m\n    template: alpaca",
     '15: experiments.e.template: found "alpaca"', "allowed: chat, instruction"),
    ("a template named as another", "model: m", "model: m\n    template: chat.jinja",
     "15: experiments.e.template: found chat.jinja", "is the name of another template"),
    ("a judge that is not defined", "model: m",
     GENERATE.format("{dataset: sums, judge: {model: n}}"),
     '15: experiments.e.generate.g.judge.model: found "n"', "allowed: m"),
    ("examples of no trial", "model: m", GENERATE.format("{dataset: sums, show: [x]}"),
     '15: experiments.e.generate.g.show[0]: found "x"', "allowed: s, d"),
    # Numbers and words.
    ("true for a number", GOOD_SFT, "trials: [{name: s, max_steps: true}]",
     "15: experiments.e.sft.trials[0].max_steps: found true", "must be a whole number"),
    ("text for a number", GOOD_SFT, 'trials: [{name: s, learning_rate: "1e-4"}]',
     '15: experiments.e.sft.trials[0].learning_rate: found "1e-4"', "must be a number"),
    ("half a step", GOOD_SFT, "trials: [{name: s, max_steps: 2.5}]",
     "15: experiments.e.sft.trials[0].max_steps: found 2.5", "must be a whole number"),
    ("no number", GOOD_SFT, "trials: [{name: s, learning_rate: .nan}]",
     "15: experiments.e.sft.trials[0].learning_rate: found NaN", "must be finite"),
    ("without end", GOOD_SFT, "trials: [{name: s, learning_rate: .inf}]",
     "15: experiments.e.sft.trials[0].learning_rate: found Infinity", "must be finite"),
    ("yes for true", "model: m", "model: m\n    enabled: yes",
     '15: experiments.e.enabled: found "yes"', "must be true or false"),
    ("a rank of 0", GOOD_SFT, "trials: [{name: s, lora: {r: 0}}]",
     "15: experiments.e.sft.trials[0].lora.r: found 0", "greater than or equal to 1"),
    ("a module without a name", GOOD_SFT, 'trials: [{name: s, lora: {target_modules: [""]}}]',
     "15: experiments.e.sft.trials[0].lora.target_modules: ", "allowed are names of modules"),
    ("a seed beyond 32 bits", "model: m", "model: m\n    seeds: [4294967296]",
     "15: experiments.e.seeds[0]: found 4294967296", "less than or equal to 4294967295"),
    ("a seed twice", "model: m", "model: m\n    seeds: [1, 1]", "13: experiments.e: ",
     "holds one seed twice"),
    ("a warm-up longer than the run", GOOD_SFT,
     "trials: [{name: s, max_steps: 3, warmup_steps: 5}]",
     "15: experiments.e.sft.trials[0].warmup_steps: found 5", "the run has max_steps 3"),
    ("a weight below 0", GOOD_DPO,
     "{name: d, loss_type: [sigmoid, sft], loss_weights: [1, -1]}",
     "16: experiments.e.preference.trials[0].loss_weights[1]: found -1",
     "greater than or equal to 0"),
    ("prompts as long as the whole", "dataset: pairs",
     "dataset: pairs, max_prompt_length: 1024",
     "16: experiments.e.preference.max_prompt_length: found 1024", "less than max_length (1024)"),
    ("an option without effect", "model: m", GENERATE.format("{dataset: sums, temperature: 1}"),
     "15: experiments.e.generate.g: ", "no effect without do_sample: true"),
    # Data, models and folders that are named.
    ("data that are not there", "sums.jsonl", "sum.jsonl",
     "6: datasets.sums.source.file.train: found sum.jsonl", "no such file"),
    ("a folder of two kinds", "sums.jsonl", "folder.csv",
     "6: datasets.sums.source.file: found folder.csv, a folder with .csv and .json",
     "files of one of .parquet, .arrow"),
    ("data of no known form", "sums.jsonl", "sums.xlsx", "6: datasets.sums.source.file: ",
     "sums.xlsx is none of .parquet, .arrow, .jsonl, .jsonl.gz, .json, .csv"),
    ("a column that is not there", "format: instruction",
     "format: instruction\n    columns: {prompt: question}",
     '6: datasets.sums.columns.prompt: found "question"', "allowed: prompt, completion"),
    ("one column twice", "format: instruction",
     "format: instruction\n    columns: {completion: prompt}", "6: datasets.sums.columns: ",
     "each role needs its own"),
    ("a slice that ends before it begins", "train[:2]", "train[2:1]",
     "11: datasets.pairs.splits.train: found", "ends before it begins"),
    ("slices that overlap", "train[2:]", "train[1:]", "11: datasets.pairs.splits: ",
     "train[1:] has rows of train[:2]"),
    ("fractions that leave nothing", "by: group, test: 0.5", "by: row, valid: 0.5, test: 0.5",
     "7: datasets.sums.splits: ", "leaves no train"),
    ("an expectation below 0", "format: instruction",
     "format: instruction\n    expect: {train: -1}",
     "6: datasets.sums.expect.train: found -1", "greater than or equal to 0"),
    ("a branch for a commit", "revision: main", "revision: v1.0",
     '2: models.m.source.revision: found "v1.0"', "should match pattern"),
    ("a model without a source", "{hub: a/b, revision: main}", "{}", "2: models.m.source: ",
     "needs one of the keys hub, folder, demo"),
    ("a model's folder that is none", "{hub: a/b, revision: main}", "{folder: models/m}",
     "2: models.m.source.folder: found models/m/config.json", "no such file"),
    ("heads that do not divide", "{hub: a/b, revision: main}",
     "{demo: sums.jsonl, hidden_size: 100, num_attention_heads: 3}",
     "2: models.m.source.hidden_size: found 100", "allowed are multiples of twice num_attention"),
    ("results in the root of the disk", "models:", "pathvars: {results: ''}\nmodels:",
     '1: pathvars.results: found ""', "allowed is a folder of its own"),
    ("claims that are not there", "models:", "claims: claims.yaml\nmodels:",
     "1: claims: found claims.yaml", "no such file"),
    # The whole.
    ("nothing enabled", "model: m", "model: m\n    enabled: false", "12: experiments: ",
     "at least one is needed"),
    ("no trial", GOOD_SFT, "trials: []", "15: experiments.e.sft.trials: ",
     "at least one is needed"),
    ("a key twice", "experiments:", "models: {}\nexperiments:", "12: models: ",
     "each may stand once"),
    ("a bracket that stays open", "{name: s}", "{name: s", "15: (whole file): not YAML: ", "','"),
    ("a tab", "    model: m", "\tmodel: m", "14: (whole file): not YAML: ",
     "cannot start any token"),
]


def configs() -> Iterator[Case]:
    """Yield configurations, and how people call commands."""
    given: dict[str, Content] = {"config.yaml": CONFIG, "sums.jsonl": json.dumps(SUMS) + "\n",
                                 "pairs.jsonl": json.dumps(PAIR) + "\n",
                                 "folder.csv/sums.csv": "prompt,completion\n",
                                 "folder.csv/sums.json": "[]",
                                 "results/tables/other.csv": EARLIER}
    for name, old, new, place, remedy in MISTAKES:
        assert CONFIG.count(old) == 1, old
        files = given | {"config.yaml": CONFIG.replace(old, new)}
        words = ["prefmake", "check", "config.yaml"]
        yield Case("configs", name, words, f"config.yaml:{place}", remedy, files)
    for name, content, place, remedy in (
        ("an empty file", "", "1: (whole file): ", "must be a mapping with models, datasets"),
        ("a list", "- models\n", "1: (whole file): ", "must be a mapping with models, datasets"),
        ("another encoding", "mark: é\n".encode("latin-1"), "1: (whole file): ",
         "save it as UTF-8"),
        ("a program", b"\x7fELF\0\0", "1: (whole file): ", "allowed is text in UTF-8"),
    ):
        files = given | {"config.yaml": content}
        words = ["prefmake", "show", "config.yaml"]
        yield Case("configs", name, words, f"config.yaml:{place}", remedy, files)
    overlay = {"more.yaml": "experiments:\n  e: {modle: m}\n"}
    for words, place, remedy in (
        ("check none.yaml", "none.yaml:1: (whole file): ", "No such file"),
        ("check results", "results:1: (whole file): ", "Is a directory"),
        ("check config.yaml more.yaml", "more.yaml:2: experiments.e.modle: ", "allowed: title"),
        ("status -c config.yaml -c more.yaml", "more.yaml:2: experiments.e.modle: ",
         "allowed: ti"),
        ("show config.yaml --trial x", "--trial: found 'x'", "allowed: d, s"),
        ("plan --profile x", "--profile: found 'x'", "allowed: a folder, or"),
        ("chekc config.yaml", "No such command 'chekc'", "Did you mean 'check'"),
        ("check --quiet", "No such option: --quiet", "--quiet"),
        ("trace", "Missing argument", "'item'"),
        ("tables results", "results/tables: no tables", "a finished run makes them"),
        ("crate results -c config.yaml", "results: no tables with provenance",
         "a finished run has"),
        ("rate results", "results: found no metrics.json", "a finished run has them"),
        ("rate results --most few", "Invalid value for '-n' / '--most'", "valid integer"),
        ("ratings a.json", "results/rating/key.json: ", "allowed: a key that prefmake rate wrote"),
        ("trace results/tables/other.csv", "results/tables/other.csv: no *.provenance.json",
         "jobs writ"),
        ("trace results/tables/x.csv", "results/tables/x.csv: ", "no such file"),
        ("trace results/tables/other.csv --row s", "a cell needs both", "a row and a column"),
        ("verify results", "results: no provenance", "a run leaves it beside each result"),
    ):
        yield Case("configs", f"prefmake {words}", ["prefmake", *words.split()], place, remedy,
                   given | overlay)
    yield from claims()


CLAIMS = """\
experiments: {e: E}
figures:
  - experiment: e
    figure: Loss
    ours: {figure: held_out_loss}
    show: number
    compare: difference
    claims: [{trial: s, claimed: about 1.2, notebook: null}]
"""


def claims() -> Iterator[Case]:
    """Yield files of published numbers."""
    words = ["report.tables.comparison", *READ, "--claims", "claims.yaml", "--csv", "out.csv"]
    for name, old, new, place, remedy in (
        ("a typo", "show: number", "show: number\n    unti: s", "claims.yaml:7: figures[0].unti: ",
         "unknown key"),
        ("a kind of numbers", "show: number", "show: percentage",
         "claims.yaml:6: figures[0].show: ", "'percent', 'count', 'factor' or 'number'"),
        ("no such experiment", "experiment: e", "experiment: f",
         "claims.yaml:3: figures[0].experiment", "allowed: e"),
        ("a trial twice", "trial: s,", "trial: s, claimed: '1', notebook: null}, {trial: s,",
         "claims.yaml:8: figures[0].claims[1].trial: ", "stands twice"),
        ("more right than all", "claimed: about 1.2", "claimed: '1', successes: 3, n: 2",
         "claims.yaml:8: figures[0].claims[0]: ", "3 successes of 2"),
        ("no source", "{figure: held_out_loss}", "{}", "claims.yaml:5: figures[0].ours: ",
         "needs exactly one of figure, training, speedup"),
        ("a note that is not there", "notebook: null", "notebook: null, notes: [x]",
         "claims.yaml:8: figures[0].claims[0]: ", "no note is called 'x'"),
        ("a metric that was not measured", "held_out_loss", "rouge",
         "results/trials/s: has no rouge", "which a claim is compared with"),
        ("no YAML", "experiments: {e: E}", "experiments: {e: E", "claims.yaml:2: (whole file): ",
         "not YAML"),
    ):
        assert CLAIMS.count(old) == 1, old
        files: dict[str, Content] = {"claims.yaml": CLAIMS.replace(old, new), "out.csv": EARLIER}
        yield Case("configs", f"claims: {name}", words, place, remedy, files, [finished])


# -------------------------------------------------------------------------------------------- data


def fetched(name: str, file: str, content: Content, place: str, remedy: str, kind: str = "text",
            **more: Any) -> Case:
    """Return the case of a file whose columns q and a are read."""
    words = ["data.fetch", "--source", json.dumps({"file": {"train": file}}), "--columns",
             json.dumps({"q": kind, "a": kind}), "--rows", "out/raw.parquet", "--record",
             "out/raw.json"]
    files = {"out/raw.parquet": EARLIER, "out/raw.json": EARLIER, file: content}
    return Case("data", f"{file}: {name}", words, f"{file}: {place}", remedy, files, **more)


def zipped(path: Path) -> None:
    """Write a zip file of something."""
    with ZipFile(path, "w") as packed:
        packed.writestr("thesis.tex", "")


def parquet(**columns: Any) -> Callable[[Path], object]:
    """Return what writes a Parquet file of these columns."""

    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [name.rstrip("_") for name in columns]
        arrays = [pa.array(values) for values in columns.values()]
        pq.write_table(pa.Table.from_arrays(arrays, names), path)

    return write


def cut(write: Callable[[Path], object], size: int) -> Callable[[Path], object]:
    """Return what writes so many bytes of a file."""

    def written(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:size])

    return written


def files_of_rows() -> Iterator[Case]:
    """Yield data files as people have them."""
    when = datetime(2024, 1, 5)
    for name, content, place, remedy in (
        ("an open quote", 'q,a\n1,2\n"3,4\n', "line 3: ", "a quote that is never closed"),
        ("a backslash before a quote", 'q,a\n"a \\" b",2\n', "line 2: ",
         "a quote inside a text is"),
        ("text behind a quote", 'q,a\n"1" x,2\n', "line 2: ", "written twice"),
        ("a bare quote", 'q,a\n1,2\n5" nails,4\n', "line 3: ",
         "allowed: quotes around it, and each"),
        ("a bare comma", "q,a\n1,2\nOne, two,3\n", "line 3: found 3 fields",
         "needs quotes around"),
        ("a short row", "q,a\n1\n", "line 2: found 1 fields, the header has 2", "needs quotes"),
        ("a column twice", "q,a,q\n1,2,3\n", 'line 1: the column "q"', "stands twice"),
        ("semicolons", "q;a\n1;2\n", "line 1: found columns separated by semicolons",
         "allowed: com"),
        ("tabs", "q\ta\n1\t2\n", "line 1: found columns separated by tabs", "allowed: commas"),
        ("no such column", "q,b\n1,2\n", "no column a", "it has: q, b"),
        ("nothing", "", "holds no line", "allowed: a header and rows"),
        ("Latin-1", "q,a\n1,é\n".encode("latin-1"), "line 2: found byte 0xe9",
         "allowed: text in UTF"),
        ("UTF-16", "q,a\n1,2\n".encode("utf-16"), "line 1: found byte 0xff",
         "allowed: text in UTF"),
        ("a spreadsheet", b"PK\x03\x04\x14\0\x08\xff", "line 1: found byte 0xff", "allowed: text"),
    ):
        yield fetched(name, "rows.csv", content, place, remedy)
    good = '{"q": "1", "a": "2"}\n'
    for name, line, place, remedy in (
        ("a comma too many", '{"q": "1", "a": "2",}', "line 2: no JSON: ", "at character"),
        ("cut in the middle", '{"q": "1", "a": "2', "line 2: no JSON: ", "at character 17"),
        ("Python's quotes", "{'q': '1', 'a': '2'}", "line 2: no JSON: ", "double quotes"),
        ("a key twice", '{"q": "1", "a": "2", "q": "3"}',
         'line 2: no JSON that is read: the key "q"',
         "stands twice in an object: text, '1' and text, '3'"),
        ("a list", '["1", "2"]', "line 2: found a list", 'allowed: an object, {"column": …}'),
        ("text alone", '"1"', "line 2: found text, '1'", "allowed: an object"),
        ("a number", '{"q": 7, "a": "2"}', "line 2: column q: found a number, 7", "allowed: text"),
        ("true", '{"q": "1", "a": true}', "line 2: column a: found true or false",
         "allowed: text"),
        ("an object", '{"q": {"x": 1}, "a": "2"}', "line 2: column q: found an object",
         "allowed: t"),
        ("a list of texts", '{"q": "1", "a": ["2"]}', "line 2: column a: found a list",
         "allowed: t"),
        ("no number at all", '{"q": "1", "a": NaN}', "line 2: column a: found a number",
         "allowed: t"),
        ("half a character", '{"q": "1", "a": "\\ud800"}', "line 2: column a: ",
         "half a character"),
        ("a byte of Latin-1", b'{"q": "1", "a": "\xe9"}', "line 2: found byte 0xe9",
         "allowed: text"),
        ("100,000 brackets", "[" * 100_000, "line 2: no JSON that is read: ", "recursion"),
    ):
        content = good.encode() + (line if isinstance(line, bytes) else line.encode())
        yield fetched(name, "rows.jsonl", content, place, remedy)
    yield fetched("no such column", "rows.jsonl", '{"q": "1", "b": "2"}\n', "no column a",
                  "it has: q, b")
    yield fetched("nothing", "rows.jsonl", "", "no column q", "it has: none")
    chat = '{"q": [{"role": "user", "content": "1"}], "a": []}\n'
    yield fetched("no messages", "chat.jsonl", chat + '{"q": 3, "a": []}',
                  "line 2: column q: found a number, 3", "allowed: a list", "lists")
    for name, text, place, remedy in (
        ("cut in the middle", '[{"q": "1",\n "a": "2"},\n', "line 3: no JSON: ", "at character"),
        ("no object", '[{"q": "1", "a": "2"}, 3]', "row 2: found a number, 3",
         "allowed: an object"),
        ("objects below a key", '{"data": [{"q": "1", "a": "2"}]}', "no column q", "it has: data"),
    ):
        yield fetched(name, "rows.json", text, place, remedy)
    packed = gzip.compress(good.encode() * 100)
    for name, data, place, remedy in (
        ("not packed", good.encode(), "not readable as .jsonl.gz: ", "Not a gzipped file"),
        ("cut in the middle", packed[:-9], "not readable as .jsonl.gz: ", "ended before"),
        ("a byte that changed", packed[:-6] + b"?" + packed[-5:], "not readable as .jsonl.gz: ",
         "CRC check failed"),
        ("a bomb", gzip.compress(b" " * (40 << 20)), "line 1: ", "unpack the file if it is meant"),
    ):
        yield fetched(name, "rows.jsonl.gz", data, place, remedy)
    whole = parquet(q=["1"] * 1000, a=[str(number) for number in range(1000)])
    for name, write, place, remedy in (
        ("text", "q,a\n1,2\n", "not readable as .parquet: ", "Parquet"),
        ("nothing", b"", "not readable as .parquet: ", "0 bytes"),
        ("cut in the middle", cut(whole, 1000), "not readable as .parquet: ", "Parquet"),
        ("numbers", parquet(q=[1], a=["2"]), "row 1: column q: found a number, 1",
         "allowed: text"),
        ("a time", parquet(q=["1"], a=[when]), "row 1: column a: found datetime", "allowed: text"),
        ("bytes", parquet(q=[b"1"], a=["2"]), "row 1: column q: found bytes", "allowed: text"),
        ("lists", parquet(q=[["1"]], a=["2"]), "row 1: column q: found a list", "allowed: text"),
        ("a column twice", parquet(q=["1"], a=["2"], q_=["3"]), 'the column "q"', "stands twice"),
        ("no such column", parquet(q=["1"], b=["2"]), "no column a", "it has: q, b"),
    ):
        yield fetched(name, "rows.parquet", write, place, remedy)


SOURCE = {"by": "source", "train": "train", "valid": None, "test": None}
INSTRUCTION = {"format": "instruction", "columns": {"prompt": "q", "completion": "a"},
               "group": None, "min_characters": 1, "expect": {}, "splits": SOURCE}
CHAT = INSTRUCTION | {"format": "messages",
                      "columns": {name: name for name in ("prompt", "chosen", "rejected")},
                      "identical": "drop"}


def said(role: str, content: Any, **more: Any) -> list[dict[str, Any]]:
    """Return one message."""
    return [{"role": role, "content": content, **more}]


def raw(**columns: list[Any]) -> Callable[[Path], object]:
    """Return what writes a source's rows, all of the split train."""
    return parquet(**columns, _split=["train"] * len(next(iter(columns.values()))))


def prepared(name: str, content: Content, place: str, remedy: str, **settings: Any) -> Case:
    """Return the case of a source's rows."""
    words = ["data.prepare", "--dataset", json.dumps(INSTRUCTION | settings), "--rows",
             "raw.parquet", "--out", "data"]
    names = ("train", "valid", "test", "dropped")
    files: dict[str, Content] = {f"data/{split}.parquet": EARLIER for split in names}
    return Case("data", name, words, f"raw.parquet: {place}", remedy,
                files | {"raw.parquet": content})


def chat(**odd: Any) -> Callable[[Path], object]:
    """Return what writes a pair of messages of which a part is odd."""
    row = {"prompt": said("user", "p"), "chosen": said("assistant", "c"),
           "rejected": said("assistant", "r")} | odd
    return raw(**{name: [json.dumps(value)] for name, value in row.items()})


def sources() -> Iterator[Case]:
    """Yield rows that no dataset can be made of."""
    good = raw(q=["1", "2"], a=["3", "4"])
    left = "no row is left; dropped: "
    yield prepared("a column less", raw(q=["1"]), "the source has no column a", "it has: q")
    yield prepared("empty prompts", raw(q=["", " "], a=["1", "2"]), left, "2 × empty prompt")
    yield prepared("no completions", raw(q=["1"], a=[None]), left, "1 × empty completion")
    yield prepared("short completions", good, left, "2 × completion shorter than 9 characters",
                   min_characters=9)
    yield prepared("no row at all", raw(q=[], a=[]), left, "none")
    for what, part, reason in (
        ("an unknown role", {"prompt": said("human", "p")},
         "unknown role 'human' (allowed: system,"),
        ("a call without a name", {"chosen": said("assistant", "c", tool_calls=[{"id": "f"}])},
         "a tool call is not {name, arguments}"),
        ("what no template knows", {"chosen": said("assistant", "c", thinking="f")},
         "read are role, content, tool_calls"),
        ("a turn of the user", {"chosen": said("user", "c")},
         "completion of role user (allowed: ass"),
        ("several turns", {"chosen": said("user", "c") * 2}, "allowed: one assistant turn"),
        ("an answered prompt", {"prompt": said("assistant", "p")},
         "an answer follows a user's or"),
        ("equal completions", {"rejected": said("assistant", "c")}, "1 × identical completions"),
        ("messages without roles", {"prompt": [{"from": "human"}]},
         "not a list of {role, content}"),
    ):
        yield prepared(what, chat(**part), left, reason, **CHAT)
    dialogues = {"format": "dialogues", "response": "last", "identical": "drop",
                 "columns": {"chosen": "q", "rejected": "a"}}
    for what, chosen, reason in (
        ("no dialogue", "Hello.", "text before the first turn"),
        ("nobody answers", "\n\nHuman: Hi", "no assistant turn"),
        ("the human ends it", "\n\nAssistant: Hi\n\nHuman: Ho",
         "last turn is not the assistant's"),
    ):
        yield prepared(what, raw(q=[chosen], a=[chosen]), left, reason, **dialogues)
    for what, splits, place, remedy in (
        ("a slice behind the end", SOURCE | {"test": "train[7:]"}, "split test is empty",
         "the source has rows in train"),
        ("a split that is not there", SOURCE | {"test": "dev"}, "split test is empty",
         "the source has rows in train"),
        ("a draw of nothing", {"by": "row", "source": "train", "valid": 0.1, "test": 0, "seed": 0},
         "split valid is empty", "the source has rows in train"),
        ("a row in two splits", SOURCE | {"test": "train[1:]"}, "row train-1 is in train",
         "in test"),
    ):
        yield prepared(what, good, place, remedy, splits=splits)
    yield prepared("rows without a group", raw(q=["1"], a=["2"], g=[None]),
                   "row train-0: column g", "each row needs one", group="g")
    yield prepared("fewer rows than expected", good, "split train has 2 rows", "expected 3",
                   expect={"train": 3})
    yield prepared("a file that was cut", cut(good, 200), "", "delete it, and make it again")


PROMPTS = [{"id": "train-0", "group": "g", "prompt": said("user", "How many?"),
            "completion": said("assistant", "Seven.")}]


def canonical(path: Path, rows: list[dict[str, Any]] = PROMPTS) -> None:
    """Write canonical demonstrations."""
    from scripts.common.files import write_rows
    from scripts.common.rows import DEMONSTRATIONS

    write_rows(path, rows, DEMONSTRATIONS)


TOKENIZE = ["data.tokenize", "--data", "data/train.parquet", "--model", "model/manifest.json",
            "--rows", "demonstrations", "--out", "tokens"]
TOKENIZED: dict[str, Content] = {"data/train.parquet": canonical, "tokens/train.parquet": EARLIER,
                                 "tokens/report.json": EARLIER}


def templates() -> Iterator[Case]:
    """Yield templates, and rows that none writes."""

    def case(name: str, text: str | bytes, place: str, remedy: str, **more: Any) -> Case:
        words = [*TOKENIZE, "--template", "t.jinja", "--max-length", "64"]
        files = TOKENIZED | {"t.jinja": text}
        options = {"before": [Place.model]} | more
        return Case("data", f"template: {name}", words, place, remedy, files, **options)

    def hurried(place: Place) -> None:
        place.model()
        place.patch.setattr("scripts.lm.chat.SECONDS", 0.2)

    left = "data/train.parquet: no row is left; dropped: 1 × t.jinja "
    endless = "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3
    for name, text, place, remedy in (
        ("a syntax error", "{% for m in %}", "t.jinja, line 1: ", "Expected an expression"),
        ("an end that is missing", "a\n{% if x %}", "t.jinja, line 2: ", "'endif'"),
        ("an unknown filter", "{{ messages | jsn }}", "t.jinja, line 1: ", "'jsn'"),
        ("what is not defined", "a\n{{ message.content.x }}", "t.jinja, line 2: ", "is undefined"),
        ("another file", "{% include 'other.jinja' %}", "t.jinja, line 1: ", "loader"),
        ("a date", "{{ strftime_now('%Y') }}", "t.jinja: found strftime_now",
         "write the date into a"),
        ("chance", "{{ messages | random }}", "t.jinja: found the filter random",
         "the same tokens"),
        ("an address of memory", "{% for m in messages %}{{ m.content }}{{ m.get }}{% endfor %}",
         "t.jinja: found an address", "the same tokens"),
        ("always the same", "Hello.", left, "leaves out messages of the user"),
        ("nothing", "", left, "leaves out messages of the user"),
        ("a refusal", "{{ raise_exception('No system!') }}", left, "refuses it: No system!"),
        ("prompts in two ways", "{{ add_generation_prompt }}{{ messages[0].content }}",
         "t.jinja wri", "differently with and without an answer"),
    ):
        yield case(name, text, place, remedy)
    yield case("no end", endless, "t.jinja: found no end after 0.2 s", "a text takes milliseconds",
               before=[hurried])
    yield case("not UTF-8", b"\xff\xfe", "t.jinja: ", "UTF-8")
    words = [*TOKENIZE, "--max-length"]

    def without_template(place: Place) -> None:
        (place.model() / "chat_template.jinja").unlink()
        relist(place.folder)

    yield Case("data", "tokenizer without a template", [*words, "64"],
               "model/snapshot: the tokenizer has no chat template", "name one with `template:`",
               TOKENIZED, [without_template])
    left = "data/train.parquet: no row is left; dropped: 1 × "
    yield Case("data", "prompts that fill all", [*words, "3"], left, "the prompt fills max_length",
               TOKENIZED, [Place.model])
    row = PROMPTS[0] | {"prompt": said("user", "<s> and </s>")}
    special = TOKENIZED | {"data/train.parquet": partial(canonical, rows=[row])}
    yield Case("data", "special tokens in texts", [*words, "64"], left,
               "a text has the special token", special, [Place.model])


def relist(folder: Path) -> None:
    """Write the manifest of model/ again, as it now is."""
    from scripts.models.manifest import write_manifest

    write_manifest(folder / "model/manifest.json", folder / "model/snapshot", {"source": "folder"})


def of_rows() -> Iterator[Case]:
    """Yield what jobs behind the data are given."""
    made: dict[str, Content] = {"train.parquet": canonical, "test.parquet": canonical,
                                "none.parquet": partial(canonical, rows=[]),
                                "cut.parquet": cut(canonical, 500), "out.parquet": EARLIER,
                                "out.json": EARLIER, "report.json": '{"train": {"dropped": []}}',
                                "tokens/train.parquet": partial(canonical, rows=[]),
                                "dropped.parquet": EARLIER}
    overlap = ["data.overlap", "--out", "out.parquet", "--report", "out.json", "--against",
               "test.parquet"]
    lookup = ["evaluate.lookup", "--dataset", "d", "--root", ".", "--items", "out.parquet",
              "--metrics", "out.json", "--test", "test.parquet"]
    doctor = ["data.doctor", "--name", "d", "--dropped", "dropped.parquet", "--report",
              "report.json", "--model", "model/manifest.json", "--out", "out.json"]
    again = "delete it, and make it again"
    for name, words, place, remedy in (
        ("overlap: n-grams of two words", [*overlap, "--rows", "train.parquet", "--ngram", "2"],
         "--ngram: found 2", "or more"),
        ("overlap: a share of 0", [*overlap, "--rows", "train.parquet", "--share", "0"],
         "--share: found 0", "above 0"),
        ("overlap: rows that were cut", [*overlap, "--rows", "cut.parquet"], "cut.parquet: ",
         again),
        ("lookup: no pairs", [*lookup, "--train", "train.parquet"], "train.parquet: found columns",
         "a lookup needs preference pairs"),
        ("lookup: no rows", [*lookup, "--train", "none.parquet"], "none.parquet: found no rows",
         "a lookup needs preference pairs"),
        ("lookup: rows that were cut", [*lookup, "--train", "cut.parquet"], "cut.parquet: ",
         again),
        ("doctor: no rows of training",
         [*doctor, "--data", "test.parquet", "--tokens", "x.parquet"],
         "--data: found test.parquet", "train is needed"),
        ("doctor: fewer tokens",
         [*doctor, "--data", "train.parquet", "test.parquet", "--tokens", "tokens/train.parquet"],
         "--tokens: found 1", "need 2"),
        ("doctor: tokens of other rows",
         [*doctor, "--data", "train.parquet", "--tokens", "tokens/train.parquet"],
         "tokens/train.parquet: not the rows", "tokenize again"),
    ):
        yield Case("data", name, words, place, remedy, made)


def raters() -> Iterator[Case]:
    """Yield what raters hand in, and pages that are not as they were."""

    def case(name: str, edit: Callable[[dict[str, Any]], object], place: str, remedy: str, *,
             also: str = "") -> Case:
        def before(at: Place) -> None:
            key = Study(at.folder).page(at.folder / "rating")
            item = next(iter(key["contests"][0]["items"]))
            sheet: dict[str, Any] = {"page": key["page"], "rater": "Ada",
                                     "ratings": [{"item": item, "choice": "left"}]}
            (at.folder / "b.json").write_text(json.dumps(sheet))
            edited = edit(sheet)
            text = edited if isinstance(edited, str) else json.dumps(sheet)
            (at.folder / "a.json").write_text(text)
            if also:
                path = at.folder / also
                path.write_bytes(path.read_bytes()[:-9])

        words = ["prefmake", "ratings", "b.json", "a.json", "--results", "results", "--page",
                 "rating"]
        files = {f"results/tables/ratings.{form}": EARLIER for form in ("csv", "md", "tex")}
        return Case("data", f"ratings: {name}", words, place, remedy, files, [before])

    page = "allowed: a file that the rating page saved"
    generations = "results/trials/wombat-r16/seed-3/generations.parquet"
    yield case("no JSON", lambda it: "left, right", "a.json: Invalid JSON", page)
    yield case("of another page", lambda it: it.update(page="x"), "a.json: page: found 'x'",
               "the key's")
    yield case("no such item", lambda it: it["ratings"][0].update(item="x"),
               "a.json: item: found 'x'", "allowed: the items of the page")
    yield case("an item twice", lambda it: it.update(ratings=it["ratings"] * 2),
               "a.json: item: found ", "allowed: each item once")
    yield case("another choice", lambda it: it["ratings"][0].update(choice="both"),
               "a.json: ratings, 0, choice, Input should be 'left'", page)
    yield case("nobody", lambda it: it.update(rater=" "), "a.json: rater, ", page)
    yield case("a key more", lambda it: it.update(note="x"), "a.json: note, ", page)
    yield case("two minds", lambda it: it["ratings"][0].update(choice="right"), "a.json: item ",
               "allowed: files of one rater that agree")
    yield case("a key that was cut", lambda it: None, "rating/key.json: Invalid JSON",
               "allowed: a key that prefmake rate wrote", also="rating/key.json")
    yield case("answers that changed", lambda it: None,
               f"{generations}: changed since the page was made", "allowed with --stale-ok",
               also=generations)

    def asked(at: Place) -> None:
        Study(at.folder).page(at.folder / "rating")

    def spoiled(at: Place) -> None:
        asked(at)
        shorten(at.folder / generations)

    yield Case("data", "rate: answers that were cut", ["prefmake", "rate", "results"],
               f"{generations}: ", "make it again", {}, [spoiled])
    for name, words, place, remedy in (
        ("another question", "--question Why?", "rating/key.json: ",
         "move it away, or write into"),
        ("no such trial", "--trial x", "--trial: found 'x'",
         "allowed: base, numbat-r8, wombat-r16"),
        ("no such set", "--set x", "--set: found 'x'", "allowed: hidden-set"),
        ("no comparison", "--most 0", "--most: found 0", "allowed: 1 or more"),
        ("alone", "--trial wombat-r16 --against wombat-r16", "nothing to compare", "differently"),
    ):
        yield Case("data", f"rate: {name}", f"prefmake rate results --out rating {words}".split(),
                   place, remedy, {}, [asked])


def data() -> Iterator[Case]:
    """Yield files of rows, and what is made of them."""
    yield from files_of_rows()
    yield from sources()
    yield from templates()
    yield from of_rows()
    yield from raters()


# ------------------------------------------------------------------------------------------ models


FETCH = ["models.fetch", "--manifest", "out/manifest.json", "--source"]
FOLDER = [*FETCH, '{"folder": "model/snapshot"}']


def fetched_model(name: str, edit: Callable[[Path], object], place: str, remedy: str,
                  kind: str = "models") -> Case:
    """Return the case of a model's folder that was edited."""

    return Case(kind, name, FOLDER, place, remedy, {"out/manifest.json": EARLIER},
                [lambda at: edit(at.model())])


def writes(name: str, content: str | bytes) -> Callable[[Path], object]:
    """Return what writes a file of a folder."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


SPOILED = ("cut", "cut in the header", "stand-in", "a web page", "a pickle", "of another name",
           "no index", "no first shard", "a shard is cut", "a shard is a stand-in",
           "a tensor twice", "index is no object", "index of nothing", "index outside the folder",
           "adapter", "adapter's weights", "an adapter alone", "config is a stand-in",
           "unknown type", "heads that do not divide", "pad beyond", "one eos beyond",
           "generation's eos beyond", "a small embedding", "a token beyond", "tokenizer is cut",
           "tokenizer of nothing", "eos is a number")
"""Of the broken models that tests/models/test_manifest.py has, one or two of each kind."""


def models() -> Iterator[Case]:
    """Yield folders that are no model, and models that cannot be used."""
    small = "model/snapshot/"
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        yield fetched_model(f"without {file}", lambda folder, file=file: (folder / file).unlink(),
                            "model/snapshot: a model needs ", "found chat_template.jinja")
    for name, content in (
        ("cut", '{"hidden_size": 6'),
        ("nothing", ""),
        ("a page", "<html><title>404</title></html>"),
        ("UTF-16", "{}".encode("utf-16")),
    ):
        yield fetched_model(f"config.json: {name}", writes("config.json", content),
                            f"{small}config.json: ", "JSON")
    for file in ("tokenizer_config.json", "generation_config.json"):
        yield fetched_model(f"{file}: a list", writes(file, "[]"), f"{small}{file}: found ",
                            "allowed is a JSON object")
    earlier: dict[str, Content] = {"out/manifest.json": EARLIER, "a.txt": "text"}
    for name, folder, place, remedy in (
        ("no folder", "nowhere", "nowhere: ", "No such file or directory"),
        ("a file for a folder", "a.txt", "a.txt: Not a directory", "a folder is needed there"),
    ):
        yield Case("models", name, [*FETCH, json.dumps({"folder": folder})], place, remedy, earlier)
    for name in SPOILED:
        spoil, file, said = BROKEN[name]
        yield fetched_model(f"spoiled: {name}", spoil, f"model/snapshot/{file}".rstrip("/"), said)
    offline = json.dumps({"hub": "owner/model", "revision": "main"})
    yield Case("models", "the hub is switched off", [*FETCH, offline], "model owner/model@main: ",
               "HF_HUB_OFFLINE", {"out/manifest.json": EARLIER})
    for name, fault, remedy in (
        ("no such model", Fault("/api/*", status=404, code="RepoNotFound"),
         "needs a token in the envi"),
        ("no such commit", Fault("/api/*", status=404, code="RevisionNotFound"),
         "no such revision"),
        ("a gated model", Fault("/api/*", status=403, code="GatedRepo"),
         "on the repository's page"),
        ("a busy hub", Fault("/api/*", status=429), "too many requests to the hub"),
        ("a hub that fails", Fault("/api/*", status=503), "the hub has failed"),
    ):
        yield hub_model("models", name, fault, "model owner/model@main: ", remedy)
    pair = [*TOKENIZE, "--max-length", "64"]
    manifest = "model/manifest.json"
    for name, edit, place, remedy in (
        ("no manifest", lambda at: (at.model().parent / "manifest.json").unlink(), manifest,
         "such file"),
        ("a manifest that was cut", lambda at: at.model() and shorten(at.folder / manifest),
         manifest, "delete it, and make it again"),
        ("a file less than listed", lambda at: (at.model() / "config.json").unlink(),
         f"{small}config.json: not the file that model/manifest.json lists",
         "delete that to fetch it"),
        ("a file longer than listed",
         lambda at: writes("config.json", "{" + " " * 2000 + "}")(at.model()),
         f"{small}config.json: not the file that model/manifest.json lists",
         "delete that to fetch it"),
    ):
        yield Case("models", name, pair, place, remedy, TOKENIZED, [edit])
    reference = ["train.reference", "--model", manifest, "--tokens", "tokens.parquet", "--out",
                 "reference.parquet", "--precision"]
    files: dict[str, Content] = {"tokens.parquet": pairs_of_tokens, "reference.parquet": EARLIER,
                                 "reference.json": EARLIER}
    for name, words, place, remedy in (
        ("no such backend", "auto --quantization none --backend vllm", "backend: found vllm",
         "allowed are transformers, unsloth"),
        ("no adapter in the folder", "auto --quantization none --start adapter",
         "adapter: an adapter needs adapter_config.json", "found no adapter_config.json"),
    ):
        yield Case("models", name, [*reference, *words.split()], place, remedy,
                   files | {"adapter/README.md": ""}, [Place.model])
    yield Case("machine", "float16 without a GPU",
               [*reference, "float16", "--quantization", "none"], "precision float16 needs a GPU",
               "use auto, float32 or bfloat16", files, [Place.model])
    yield from corpora()
    yield from trials()


def corpora() -> Iterator[Case]:
    """Yield texts and sizes of which no model can be made."""
    words = ["models.demo", "--corpus", "texts.jsonl", "--out", "demo", "--manifest", "demo.json",
             "--tokenizer-manifest", "tokenizer.json", "--model"]
    text = '{"text": "Ada has 3 pens."}\n'
    for name, corpus, sizes, place, remedy in (
        ("no JSON", f"{text}Ada\n", {}, "texts.jsonl: line 2: no JSON: ", "at character 1"),
        ("a list", f"{text}[]\n", {}, "texts.jsonl: line 2: found a list", "allowed: an object"),
        ("no text", f'{text}{{"text": 3}}\n', {}, "texts.jsonl: line 2: column text: ",
         "allowed: text"),
        ("blanks", '{"text": " "}\n', {}, "texts.jsonl: ", "at least one is needed"),
        ("Latin-1", '{"text": "é"}'.encode("latin-1"), {}, "texts.jsonl: line 1: ", "UTF-8"),
        ("a small vocabulary", text, {"vocab_size": 9}, "--model: vocab_size: ",
         "at least 262 are needed"),
        ("a typo", text, {"layers": 3}, "--model: unknown model settings: layers", "allowed: "),
        ("a short text", text, {"sequence_length": 128}, "--model: sequence_length: found 128",
         "the texts have "),
    ):
        files: dict[str, Content] = {"texts.jsonl": corpus, "demo/model.safetensors": EARLIER,
                                     "demo.json": EARLIER, "tokenizer.json": EARLIER}
        yield Case("models", f"a corpus: {name}", [*words, json.dumps(SETTINGS | sizes)], place,
                   remedy, files)


def shorten(path: Path) -> None:
    """Cut the end of a file off."""
    path.write_bytes(path.read_bytes()[:-20])


def pairs_of_tokens(path: Path) -> None:
    """Write a pair of tokens."""
    from scripts.common.files import write_rows
    from scripts.common.rows import PREFERENCE_TOKENS

    row = {"id": "train-0", "prompt_ids": [1, 20], "chosen_ids": [30, 2], "rejected_ids": [31, 2]}
    write_rows(path, [row], PREFERENCE_TOKENS)


def hub_model(kind: str, name: str, faults: Fault | list[Fault], place: str, remedy: str,
              revision: str = "main", leaves: tuple[str, ...] = (), **variables: str) -> Case:
    """Return the case of a model of a hub at which something goes wrong."""

    def before(at: Place) -> None:
        from huggingface_hub import file_download
        from huggingface_hub.utils import _http

        # It waits between two tries.
        for module in (file_download, _http):
            hurried = SimpleNamespace(sleep=lambda _: None, time=time.time)
            at.patch.setattr(module, "time", hurried)
        write_model(at.folder / "hub")
        found = faults if isinstance(faults, list) else [faults]
        at.hub(at.folder / "hub", commits={MODEL: COMMIT}, faults=[replace(it) for it in found])
        for variable, value in variables.items():
            at.patch.setenv(variable, value)

    words = [*FETCH, json.dumps({"hub": MODEL, "revision": revision})]
    return Case(kind, name, words, place, remedy, {"out/manifest.json": EARLIER}, [before], leaves)


# ----------------------------------------------------------------------------------------- machine


def machine() -> Iterator[Case]:
    """Yield folders, disks, programs and results that are not as they should be."""
    yield from disks()
    yield from results()
    yield from jobs()
    yield from measures()


@contextmanager
def as_anybody() -> Iterator[None]:
    """Take the right from root to read and write what its permissions forbid."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, now = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == libc.capget(header, now) == 0
    # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of those in effect.
    now[0] &= ~0b110
    assert libc.capset(header, now) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@contextmanager
def full_disk(largest: int = 100) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def with_mode(path: Path, mode: int) -> Iterator[None]:
    """Give a file or folder these permissions."""
    before = path.stat().st_mode
    path.chmod(mode)
    yield
    path.chmod(before)


def locked_away(*names: str, mode: int = 0o555) -> Callable[[Place], None]:
    """Return what takes permissions from files or folders until the command has ended."""

    def before(at: Place) -> None:
        at.around += [with_mode(at.folder / name, mode) for name in names]
        at.around.append(as_anybody())

    return before


def full(at: Place) -> None:
    """Fill the disk until the command has ended."""
    at.around.append(full_disk())


def disks() -> Iterator[Case]:
    """Yield places that cannot be read or written."""
    rows = {"rows.csv": "q,a\n1,2\n", "out/raw.parquet": EARLIER, "out/raw.json": EARLIER}
    fetch = ["data.fetch", "--source", '{"file": {"train": "rows.csv"}}', "--columns",
             '{"q": "text", "a": "text"}', "--record", "out/raw.json", "--rows", "out/raw.parquet"]
    prepare = ["data.prepare", "--dataset", json.dumps(INSTRUCTION), "--rows", "raw.parquet",
               "--out", "out"]
    source = {"raw.parquet": raw(q=["1"], a=["2"]), "out/train.parquet": EARLIER}
    tokenize = [*TOKENIZE, "--max-length", "64"]
    tables = [*SFT, "--csv", "out/sft.csv"]
    config: dict[str, Content] = {"config.yaml": CONFIG, "sums.jsonl": json.dumps(SUMS),
                                  "pairs.jsonl": json.dumps(PAIR)}

    for name, words, place, remedy, files, before in (
        ("rows into a read-only folder", fetch, "out/raw.parquet: Permission denied", "chmod",
         rows, (locked_away("out"),)),
        ("splits into a read-only folder", prepare, "out/train.parquet: Permission denied",
         "chmod", source, (locked_away("out"),)),
        ("tokens into a read-only folder", tokenize, "tokens/train.parquet: Permission denied",
         "chmod", TOKENIZED, (Place.model, locked_away("tokens"))),
        ("a table into a read-only folder", tables, "out/sft.csv: Permission denied", "chmod",
         {"out/sft.csv": EARLIER}, (finished, locked_away("out"))),
        ("a manifest into a read-only folder", FOLDER, "out/manifest.json: Permission denied",
         "chmod", {"out/manifest.json": EARLIER}, (Place.model, locked_away("out"))),
        ("rows onto a full disk", fetch, "out/raw.parquet: File too large", "make room", rows,
         (full,)),
        ("splits onto a full disk", prepare, "out/train.parquet: File too large", "make room",
         source, (full,)),
        ("tokens onto a full disk", tokenize, "tokens/train.parquet: File too large", "make room",
         TOKENIZED, (Place.model, full)),
        ("a table onto a full disk", tables, "out/sft.csv: File too large", "make room",
         {"out/sft.csv": EARLIER}, (finished, full)),
        ("a manifest onto a full disk", FOLDER, "out/manifest.json: File too large", "make room",
         {"out/manifest.json": EARLIER}, (Place.model, full)),
        ("a folder for rows", [*fetch[:-1], "folder"], "folder: Is a directory",
         "a file is needed there", rows | {"folder/x": EARLIER}, ()),
        ("a file for a folder", [*prepare[:-1], "raw.parquet"], "raw.parquet: a file where a",
         "move it away", source, ()),
        ("a file for a folder of rows", [*fetch[:-1], "rows.csv/raw.parquet"],
         "rows.csv: a file where a folder must be", "move it away", rows, ()),
        ("a folder for a table", [*SFT, "--csv", "folder"], "folder: Is a directory",
         "a file is needed there", {"folder/x": EARLIER}, (finished,)),
        ("data that may not be read", fetch, "rows.csv: not readable as .csv: ",
         "Permission denied", rows, (locked_away("rows.csv", mode=0),)),
        ("rows that may not be read", prepare, "raw.parquet: ", "Permission denied", source,
         (locked_away("raw.parquet", mode=0),)),
        ("a config that may not be read", ["prefmake", "check", "config.yaml"],
         "config.yaml:1: (whole file): ", "Permission denied", config,
         (locked_away("config.yaml", mode=0),)),
        ("metrics that may not be read", tables, "results/bases/e/metrics.json: Permission denied",
         "chmod", {"out/sft.csv": EARLIER},
         (finished, locked_away("results/bases/e/metrics.json", mode=0))),
        ("data that are not there", [*prepare[:-3], "none.parquet", *prepare[-2:]],
         "none.parquet: ", "No such file", source, ()),
    ):
        yield Case("machine", name, words, place, remedy, files, before)


def finished(at: Place) -> Results:
    """Write the results of a finished run, of a base and two trials of each method."""
    made = Results(at.folder / "results")
    made.base("e", "E", generated(2.5, 0.0721, 0.2))
    made.trial("s", "sft", generated(1.25, 0.1176, 0.5), experiment="e", title="E")
    made.trial("d", "dpo", preferred(), experiment="e", title="E", items=PAIRS,
               setting={"start": "trials/s/seed-0"})
    return made


PLAN = [{"experiment": "e", "title": "E", "base": "tiny_llama", "lookup": None, "shown": {},
         "trials": {"sft": ["s/seed-0"], "dpo": ["d/seed-0"]}}]
READ = ["--root", "results", "--plan", json.dumps(PLAN)]
SFT = ["report.tables.sft", *READ]


def results() -> Iterator[Case]:
    """Yield results that were cut, edited or lost."""

    def case(words: list[str], file: str, edit: Callable[[Path], object], remedy: str,
             name: str) -> Case:
        outs = ["--pdf", "out.pdf", "--png", "out.png"]
        words = [*words, *(outs if "figures" in words[0] else ["--csv", "out.csv"])]
        files: dict[str, Content] = {f"out.{it}": EARLIER for it in ("csv", "pdf", "png")}
        return Case("machine", f"{words[0]}: {name} {file}", words, f"results/{file}: ", remedy,
                    files, (finished, lambda at: edit(at.folder / "results" / file)))

    def without(*keys: str) -> Callable[[Path], object]:
        def edit(path: Path) -> None:
            content = json.loads(path.read_text())
            part = content
            for key in keys[:-1]:
                part = part[key]
            del part[keys[-1]]
            path.write_text(json.dumps(content))

        return edit

    def of_trials(module: str) -> list[str]:
        return [f"report.{module}", *READ]

    base, trial, again = "bases/e/metrics.json", "trials/s/seed-0/", "delete it, and make it again"
    yield case(SFT, base, Path.unlink, "no such file", "no")
    yield case(SFT, base, shorten, again, "a cut")
    yield case(SFT, base, without("metrics"), "has no metrics", "another")
    yield case(SFT, base, without("metrics", "held_out_loss", "intervals"), "has no intervals",
               "an edited")
    yield case(SFT, f"{trial}train.json", without("steps"), "has no steps", "an edited")
    yield case(SFT, f"{trial}trial.json", lambda path: path.write_text("[]"), "not a JSON object",
               "an edited")
    yield case(of_trials("figures.curves"), f"{trial}history.jsonl", shorten, again, "a cut")
    yield case(of_trials("figures.length"), "trials/d/seed-0/items.parquet", shorten, again,
               "a cut")
    yield case(of_trials("tables.differences"), "comparisons/e.json", without("tests"),
               "has no tests", "an edited")
    yield case(of_trials("tables.cost"), f"{trial}score.json", Path.unlink, "no such file", "no")


def jobs() -> Iterator[Case]:
    """Yield jobs that cannot run, and records that are not as they were."""
    env = ["--env", "report", "--accelerator", "cpu", "--allow-env-drift", "--results", "results"]
    made = ["--outputs", "results/x.json", "--provenance", "results/x.provenance.json"]
    job = ["provenance.job", "--rule", "x", *env, *made]
    earlier: dict[str, Content] = {"results/x.json": EARLIER, "results/x.provenance.json": EARLIER}
    failed = ("results/x.provenance.failed.json",)
    for name, words, place, remedy, leaves in (
        ("no such program", [*job, "--", "no-such-program"], "no-such-program: ",
         "no such program", ()),
        ("no command", job, "no command after --", "--", ()),
        ("a record of another name", [*job, "--provenance", "x.json", "--", "true"],
         "--provenance: found x.json", "allowed is *.provenance.json", ()),
        ("an input that is not there", [*job, "--inputs", "none.csv", "--", "true"],
         "rule x: none.csv: ", "No such file", ()),
        ("an output that is not made", [*job, "--outputs", "results/y.json", "--", "true"],
         "rule x: ", "succeeded without making results/y.json", failed),
        ("other code than planned",
         [*job, "--code", "0" * 16, "--", "python", "-m", "scripts.data.fetch"],
         "rule x: scripts/data/fetch.py or what it imports was edited", "run snakemake again", ()),
        ("another env than planned", [*job, "--env-digest", "0" * 16, "--", "true"],
         "rule x: the lock of envs/report.yaml was edited", "run snakemake again", ()),
    ):
        yield Case("machine", f"job: {name}", words, place, remedy, earlier, leaves=leaves)

    def drifted(at: Place) -> None:
        (at.folder / "packages/pyarrow-0.1.dist-info").mkdir(parents=True)
        at.patch.syspath_prepend(str(at.folder / "packages"))

    yield Case("machine", "another version than locked",
               ["provenance.environment", "--env", "report", "--accelerator", "cpu"],
               "packages differ from envs/report.post-deploy.sh",
               "make the launcher environment again", {}, [drifted], lines=0)

    def recorded(edit: Callable[[Path], object]) -> Callable[[Place], None]:
        def before(at: Place) -> None:
            for step in ("a", "b"):
                record(at.folder / "results", f"data/{step}/fetch")
            edit(at.folder / "results/data/a/fetch.provenance.json")

        return before

    def edited(**values: Any) -> Callable[[Path], object]:
        return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))

    place = "results/data/a/fetch.provenance.json: "
    for name, edit, remedy in (
        ("cut", shorten, "not JSON"),
        ("of another version", edited(schema=9), "found schema 9, allowed is 1"),
        ("moved", edited(file="data/c/fetch.provenance.json"),
         "it lies at data/c/fetch.provenance"),
        ("without outputs", edited(outputs=None), "outputs: "),
        ("of a list", lambda path: path.write_text("[]"), "allowed is 1"),
    ):
        yield Case("machine", f"verify: a record {name}", ["prefmake", "verify", "results"], place,
                   remedy, {}, [recorded(edit)])
    made = "results/data/a/fetch.json"
    for name, edit, place, remedy in (
        ("that was cut", shorten, "results/data/a/fetch.provenance.json: ", "not JSON"),
        ("of another file", edited(outputs=[]), made, "no *.provenance.json beside it names it"),
    ):
        yield Case("machine", f"trace: a record {name}", ["prefmake", "trace", made], place,
                   remedy, {}, [recorded(edit)])

    publish = ["prefmake", "publish", "-c", "config.yaml", "--results", "results", "--metrics",
               "kept"]
    paper = ["prefmake", "paper", "-c", "config.yaml", "--metrics", "kept"]
    files: dict[str, Content] = {"config.yaml": CONFIG, "sums.jsonl": json.dumps(SUMS),
                                 "pairs.jsonl": json.dumps(PAIR),
                                 "kept/bases/e/metrics.json": EARLIER}
    yield Case("machine", "publish: an unfinished run", publish,
               "results: no experiment is finished", "missing", files, lines=0)
    yield Case("machine", "publish: a run that has no place", publish[:4], "runs.yaml: no run has",
               "name a folder with --metrics", files)
    yield Case("machine", "paper: a run that has no place", paper[:4], "runs.yaml: no run has",
               "name a folder with --metrics", files)
    yield Case("machine", "paper: files that are not there", paper, "kept: ",
               "prefmake publish fills it", files)

    def published(edit: Callable[[Path], object]) -> Callable[[Place], None]:
        def before(at: Place) -> None:
            from scripts.common.files import sha256, write_json
            from scripts.config.check import load
            from scripts.config.plan import make_plan, reported_files

            kept = at.folder / "kept"
            experiments = reported_files(make_plan(load([at.folder / "config.yaml"])))
            names = {name for those in experiments.values() for name in those}
            for name in names:
                write_json(kept / name, {})
            digests = {name: sha256(kept / name) for name in names}
            write_json(kept / "manifest.json", {"experiments": experiments, "files": digests})
            edit(kept)

        return before

    for name in ("../sums.jsonl", "/etc/passwd"):
        manifest = json.dumps({"experiments": {}, "files": {name: "x"}})
        yield Case("security", f"publish: a manifest that names {name}", publish,
                   "kept/manifest.json: names ", "outside its folder",
                   files | {"kept/manifest.json": manifest})

    for name, edit, place, remedy, lines in (
        ("a number that was edited", writes("bases/e/metrics.json", "[]"),
         "kept: 1 files are not those of manifest.json", "kept/bases/e/metrics.json", 0),
        ("a file that was deleted", lambda kept: (kept / "bases/e/metrics.json").unlink(),
         "kept: 1 files are missing", "publish the run again", 0),
        ("a manifest that was cut", lambda kept: shorten(kept / "manifest.json"),
         "kept/manifest.json: not JSON", "make it again", 1),
        ("a manifest that is a list", writes("manifest.json", "[]"), "kept/manifest.json: ",
         "not a JSON object", 1),
        ("a manifest without experiments", writes("manifest.json", '{"files": {}}'),
         "kept/manifest.json: names no experiments", "make it again", 1),
        ("an experiment of another configuration",
         writes("manifest.json", '{"experiments": {"x": []}, "files": {}}'),
         "kept/manifest.json: found experiment x", "the configuration has e", 1),
    ):
        yield Case("machine", f"paper: {name}", paper, place, remedy, files, [published(edit)],
                   lines=lines)

    def table(at: Place) -> None:
        record(at.folder / "results", "tables/sft")
        path = at.folder / "results/tables/sft.provenance.json"
        content = json.loads(path.read_text())
        content["outputs"][0]["file"] = "tables/sft.csv"
        path.write_text(json.dumps(content))

    csv: dict[str, Content] = {"results/tables/sft.csv": "experiment,trial,bleu\ne,s,0.5\n"}
    for name, words, place, remedy, tables in (
        ("no such row", "trace results/tables/sft.csv --row x --column bleu",
         "results/tables/sft.csv: has no row 'x' in 'bleu'", "allowed: experiment e trial s", csv),
        ("no such column", "trace results/tables/sft.csv --row s --column rouge",
         "results/tables/sft.csv: has no column 'rouge'", "allowed: ", csv),
        ("a cell that was edited", "tables results", "results/tables/sft.csv: ", "make it again",
         {"results/tables/sft.csv": "experiment,trial,bleu\ne,s,much\n"}),
        ("columns that were edited", "tables results", "results/tables/sft.csv: ", "make it again",
         {"results/tables/sft.csv": "a,b\n1,2\n"}),
        ("a folder for a crate", "crate results -c config.yaml --out results/tables",
         "results/tables: is no RO-Crate", "name another folder", csv),
        ("a file for a crate", "crate results -c config.yaml --out sums.jsonl",
         "sums.jsonl: is no RO-Crate", "name another folder", csv),
        ("another zip file for a crate", "crate results -c config.yaml --out thesis.zip",
         "thesis.zip: is no RO-Crate", "name another folder", csv | {"thesis.zip": zipped}),
    ):
        yield Case("machine", f"{words.split()[0]}: {name}", ["prefmake", *words.split()], place,
                   remedy, files | tables, [table])

    def held(at: Place) -> None:
        from scripts.common.files import write_json
        from scripts.train.lock import this_holder

        at.model()
        write_json(at.folder / "trial/work/lock.json", asdict(this_holder()))

    train = ["train.sft", "--trial", json.dumps(resolved("sft")), "--model", "model/manifest.json",
             "--tokens", "tokens.parquet", "--out", "trial"]
    yield Case("machine", "a trial that another process trains", train, "trial/work: process ",
               "wait for it, or stop it with kill",
               {"tokens.parquet": pairs_of_tokens, "trial/train.json": EARLIER}, [held],
               ("trial/work/guard",))
    for command, remedy in (
        ("tables", "a finished run makes them"),
        ("verify", "a run leaves it beside each result"),
        ("rate", "a finished run has them"),
    ):
        yield Case("machine", f"{command}: a file for the results",
                   ["prefmake", command, "results"], "results", remedy, {"results": EARLIER})
    yield Case("machine", "status: a file for the results",
               ["prefmake", "status", "--once", "-c", "config.yaml"],
               "results/trials/s/seed-0/work/", "a folder is needed there",
               files | {"results": EARLIER})


def trials() -> Iterator[Case]:
    """Yield what training, scoring and measuring are given."""
    whole = resolved("sft")
    trial = json.dumps(whole)
    train = ["train.sft", "--model", "model/manifest.json", "--out", "trial", "--tokens"]
    names = ("completions", "pairs", "generations")
    files: dict[str, Content] = {"tokens.parquet": demonstration_tokens,
                                 "pairs.parquet": pairs_of_tokens,
                                 "none.parquet": partial(demonstration_tokens, count=0),
                                 "cut.parquet": cut(pairs_of_tokens, 500),
                                 "trial/train.json": EARLIER,
                                 "trial/adapter/adapter_model.safetensors": EARLIER,
                                 "out.json": EARLIER,
                                 **{f"score/{name}.parquet": EARLIER for name in names}}
    score = ["evaluate.score", "--model", "model/manifest.json", "--precision", "float32",
             "--quantization", "none", "--out", "score"]
    probe = ["train.estimate.probe", "--trial", trial, "--model", "model/manifest.json", "--out",
             "out.json"]
    work = ("trial/work/*",)
    named = json.dumps(whole | {"lora": whole["lora"] | {"target_modules": ["q_prj"]}})
    half = json.dumps(whole | {"precision": "float16"})
    for name, words, place, remedy, leaves in (
        ("training: tokens that are not there", [*train, "no.parquet", "--trial", trial],
         "no.parquet: ", "No such file", ()),
        ("training: tokens that were cut", [*train, "cut.parquet", "--trial", trial],
         "cut.parquet: ", "make it again", work),
        ("training: no tokens", [*train, "none.parquet", "--trial", trial], "none.parquet: ",
         "no rows to train on", work),
        ("training: no such module", [*train, "tokens.parquet", "--trial", named],
         "lora.target_modules: found q_prj", "the model has ", work),
        ("training: float16 without a GPU", [*train, "tokens.parquet", "--trial", half],
         "precision float16 needs a GPU", "use auto", work),
        ("training: a start that is not there",
         [*train, "tokens.parquet", "--trial", trial, "--start", "nowhere"], "nowhere: ",
         "No such file", ()),
        ("probing: one step", [*probe, "--tokens", "tokens.parquet", "--steps", "1"],
         "--steps: found 1", "at least", ()),
        ("probing: no tokens", [*probe, "--tokens", "none.parquet"], "none.parquet: ",
         "no rows to train on", ()),
        ("scoring: tokens that were cut", [*score, "--completions", "cut.parquet"],
         "cut.parquet: ", "make it again", ()),
        ("scoring: an adapter that is not there",
         [*score, "--completions", "tokens.parquet", "--adapters", "nowhere"],
         "nowhere: an adapter needs adapter_config.json", "found no adapter_config.json", ()),
    ):
        yield Case("models", name, words, place, remedy, files, [Place.model], leaves)


def demonstration_tokens(path: Path, count: int = 4) -> None:
    """Write tokens of demonstrations."""
    from scripts.common.files import write_rows
    from scripts.common.rows import COMPLETION_TOKENS

    row = {"id": "train-0", "prompt_ids": [1, 20], "completion_ids": [30, 2]}
    write_rows(path, [row] * count, COMPLETION_TOKENS)


def measures() -> Iterator[Case]:
    """Yield rows and results of which nothing can be measured, compared or shown."""
    measure = ["evaluate.measure", "--subject", '{"method": "base"}', "--root", ".", "--metrics",
               "out.json", "--items", "out.parquet", "--pairs", "none.parquet", "--generations",
               "none.parquet", "--completions"]
    aggregate = ["evaluate.aggregate", "--subject", "{}", "--out", "out.json", "--items",
                 "a.parquet", "b.parquet", "--metrics", "a.json", "b.json"]
    compare = ["evaluate.compare", "--root", "results", "--out", "out.json", "--plan"]
    plan = {"experiment": "e", "base": "tiny_llama", "trials": {"sft": ["s/seed-0"]},
            "phases": {"sft": "sft"}, "metrics": {}}
    page = ["report.page.make", *READ, "--html", "results/out.html"]
    files: dict[str, Content] = {"a.json": '{"sets": {"g": {}}}', "b.json": '{"sets": {}}',
                                 "c.json": "{", "l.json": "[]",
                                 "none.parquet": partial(canonical, rows=[]),
                                 "cut.parquet": cut(canonical, 500), "out.json": EARLIER,
                                 "out.parquet": EARLIER, "results/out.html": EARLIER,
                                 "results/tables/sft.json": "{}", "results/tables/sft.csv": "",
                                 "results/figures/curves.png": "x"}
    for name, words, place, remedy in (
        ("measuring: scores that were cut", [*measure, "cut.parquet"], "cut.parquet: ",
         "make it again"),
        ("measuring: scores that are not there", [*measure, "no.parquet"], "no.parquet: ",
         "No such file"),
        ("seeds: a set that one lacks", aggregate, "b.json: has no sets.g", "which a.json has"),
        ("seeds: metrics that were cut", [*aggregate[:-1], "c.json"], "c.json: not JSON",
         "make it again"),
        ("seeds: metrics that are a list", [*aggregate[:-1], "l.json"], "l.json: ",
         "make it again"),
        ("comparing: a base that is not there", [*compare, json.dumps(plan | {"experiment": "x"})],
         "results/bases/x/items.parquet: ", "No such file"),
        ("the page: no such table", [*page, "--tables", "dpo"], "results/tables/dpo.json: ",
         "no such"),
        ("the page: a table that was edited", [*page, "--tables", "sft"],
         "results/tables/sft.json: ", "make it again"),
        ("the page: no picture", [*page, "--figures", "curves"], "results/figures/curves.png: ",
         "not a PNG"),
        ("a table: rows left out that were cut",
         [*SFT, "--csv", "out.csv", "--data", "cut/dropped.parquet"], "cut/dropped.parquet: ",
         "make it again"),
        ("a table: another report of tokens", [*SFT, "--csv", "out.csv", "--data", "a.json"],
         "a.json: ", "has no "),
    ):
        yield Case("machine", name, words, place, remedy, files | {"cut/dropped.parquet": b"PAR1"},
                   [finished])


# ---------------------------------------------------------------------------------------- security


def listing(sha: object = COMMIT, **file: object) -> Fault:
    """Return a hub's answer about a model, with one file, which is odd in some way."""
    files = [{"rfilename": "a.json", "size": 1, "blobId": "a" * 40} | file]
    return Fault("/api/*", body=json.dumps({"id": MODEL, "sha": sha, "siblings": files}).encode())


def security() -> Iterator[Case]:
    """Yield what strangers send: code, names, listings, and texts that are programs."""
    code = {"AutoConfig": "evil.Config"}
    for file, content in (
        ("config.json", {"auto_map": code}),
        ("config.json", {"text_config": {"auto_map": code}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "evil.Tokenizer"]}}),
        ("generation_config.json", {"auto_map": code}),
        ("processor_config.json", {"auto_map": code}),
    ):
        yield fetched_model(f"code in {file}: {content}", writes(file, json.dumps(content)),
                            f"model/snapshot/{file}: found auto_map",
                            "allowed are models that transf", "security")

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    yield fetched_model("weights that are a pickle", pickled, "model/snapshot: a model needs ",
                        "pytorch_model.bin", "security")
    where = f"model {MODEL}@main: "
    plain = "not a plain name of a file below the repository's folder"
    for name in ("../a", "/etc/a", "a/../../b", "a\\b", "a\nb", "x" * 300):
        odd = listing(rfilename=f"{name}.json")
        yield hub_model("security", f"a listed name: {name!r:.40}", odd, where, plain)
    for sha in ("../../evil", "/tmp/evil", "main", COMMIT.upper()):
        yield hub_model("security", f"a listed commit: {sha}", listing(sha), where, "is no commit")
    yield hub_model("security", "another commit", listing("f" * 40), f"model {MODEL}@{COMMIT}: ",
                    "answers with another commit", COMMIT)
    for what, file in (
        ("size", {"size": None}),
        ("digest", {"blobId": None}),
        ("size", {"size": -1}),
    ):
        yield hub_model("security", f"a listed {what}: {file}", listing(**file),
                        f"{where}a.json: ", f"{what}")
    snapshot = (f"out/snapshot/{COMMIT}/*",)
    large = Fault("*/config.json", body=b"x" * 200_000)
    yield hub_model("security", "more bytes than listed", large,
                    f"model {MODEL}@main: config.json: ", "bytes that the hub lists; deleted",
                    leaves=snapshot)
    other = Fault("*/config.json", body=b"x" * 276)
    yield hub_model("security", "other bytes than listed", other,
                    f"model {MODEL}@main: config.json: ", "deleted, so that the next run",
                    leaves=snapshot)
    yield hub_model("security", "a page for a listing", Fault("/api/*", body=b"<html>"), where,
                    "does not answer as a hub does")
    yield hub_model("security", "two words for a token", listing(), "HF_TOKEN: ", "not a token",
                    HF_TOKEN="hf_secret of mine")
    yield hub_model("security", "no address for the hub", [],
                    f"{where}the connection to HF_ENDPOINT", "'http://' or 'https://'",
                    HF_ENDPOINT="hub")
    yield hub_model("security", "a password in the hub's address", [], f"{where}no connection to ",
                    "127.0.0.1:9", HF_ENDPOINT="http://me:hf_secret@127.0.0.1:9")
    for named in ("/etc/passwd", "../../secret.csv", "https://example.invalid/a.csv", "~/a.csv"):
        yield dataset(f"data of a card: {named}",
                      {"README.md": CARD.format(named), "a.csv": "q,a\n"}, "its configs name ",
                      "outside the repository")
    yield dataset("a script of a dataset", {"owner.py": "import os"}, "no file ",
                  "allowed: .parquet")
    nine = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    yield dataset("a card of a billion laughs",
                  {"README.md": f"---\na0: &a0 1\n{nine}\n---\n", "train.csv": "q,a\n1,2\n"},
                  "README.md: found 99 aliases", "allowed are 20")
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    yield Case("security", "a template that leaves its sandbox",
               [*TOKENIZE, "--template", "t.jinja", "--max-length", "64"], "t.jinja, line 1: ",
               "unsafe", TOKENIZED | {"t.jinja": escape}, [Place.model])
    given = {"sums.jsonl": json.dumps(SUMS), "pairs.jsonl": json.dumps(PAIR)}
    laughs = "a0: &a0 [x]\n" + nine.replace("a0: ", "") + "\n"
    for name, old, new, place, remedy in (
        ("a tag that runs a program", "model: m", "model: !!python/object/apply:os.system [id]",
         "14: experiments.e.model: found the tag", "a config has plain text"),
        ("a billion laughs", "models:", f"{laughs}models:", "6: (whole file): ",
         "allowed are so many"),
        ("a path of two lines", "sums.jsonl", '"a\\nEOF\\nid"',
         "6: datasets.sums.source.file.train: ", "allowed are paths without"),
        ("a wildcard in a path", "sums.jsonl", '"{x}.jsonl"',
         "6: datasets.sums.source.file.train: ", "allowed are paths without"),
        ("a page in a name", "name: d", "name: <script>alert(1)</script>",
         "16: experiments.e.preference.trials[0].name: ", "pattern"),
        ("a name that is a path", "name: d", "name: ../../d",
         "16: experiments.e.preference.trials[0].name: ", "pattern"),
        ("results above the project", "models:", "pathvars: {results: ../../x}\nmodels:",
         "1: pathvars.results: ", "allowed is a folder below this one"),
        ("a code that clears the screen", "model: m", 'model: m\n    title: "\\e[2J"',
         "15: experiments.e.title: found the control character", "allowed is plain text"),
        ("a template outside", "model: m", "model: m\n    template: ../../../etc/passwd",
         "15: experiments.e.template: ", "no such template"),
    ):
        assert CONFIG.count(old) == 1
        files = given | {"config.yaml": CONFIG.replace(old, new), "results/a.csv": EARLIER}
        yield Case("security", name, ["prefmake", "check", "config.yaml"], f"config.yaml:{place}",
                   remedy, files)


CARD = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"


def dataset(name: str, files: dict[str, str], place: str, remedy: str) -> Case:
    """Return the case of a dataset of a hub."""
    words = ["data.fetch", "--source",
             json.dumps({"hub": "owner/data", "revision": COMMIT, "name": None}), "--columns",
             '{"q": "text", "a": "text"}', "--rows", "out/raw.parquet", "--record", "out/raw.json"]
    given: dict[str, Content] = {f"hub/datasets/owner/data/{file}": it for file,
                                 it in files.items()}
    given |= {"out/raw.parquet": EARLIER, "out/raw.json": EARLIER}

    def before(at: Place) -> None:
        at.hub(at.folder / "hub", commits={"owner/data": COMMIT})

    return Case("security", name, words, f"dataset owner/data: {place}", remedy, given, [before],
                (f"out/snapshot/{COMMIT}/*",))


# fmt: on
# ------------------------------------------------------------------------------------- what is told


CASES = [*configs(), *data(), *models(), *machine(), *security()]
INTERNAL = re.compile(r"\b\w*(Error|Exception|Warning)\b|BadInput|<class |object at 0x|NoneType")
"""What is said to people who know this project's code, or Python's."""


JINJA = re.compile(r"(?<=\.jinja, line \d: )\w+")
"""A template is a program, whose errors are told in Jinja's words, as its author knows them."""


@pytest.fixture(scope="module")
def imported(tiny_model: Path) -> None:
    """Import what takes long and is no part of what a case takes."""
    for name in ("datasets", "pandas", "peft", "seaborn", "transformers", "scripts.train.sft"):
        importlib.import_module(name)


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, imported: None
) -> Place:
    """Return the folder of a case; temporary files go into it too."""
    folder = tmp_path / "case"
    (folder / "tmp").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    record_forget()
    return Place(folder, monkeypatch, request)


def seen(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the time of each file, links included."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() or path.is_symlink()
    }


def called(words: list[str]) -> Any:
    """Return the exit status of a command, called as users or rules call it."""
    name, *rest = words
    if name == "prefmake":
        return prefmake(rest)
    main = importlib.import_module(f"scripts.{name}").main
    with pytest.raises(SystemExit) as ended:
        run(partial(main, rest))
    return ended.value.code


@pytest.mark.parametrize("case", CASES, ids=[f"{it.kind}: {it.name}" for it in CASES])
def test_bad_input_is_a_line_and_loses_nothing(
    case: Case, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in case.files.items():
        path = place.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for prepare in case.before:
        prepare(place)
    before = seen(place.folder)
    capsys.readouterr()
    start = time.process_time()
    with ExitStack() as around:
        for it in place.around:
            around.enter_context(it)
        status = called(case.words)
    taken = time.process_time() - start
    out, error = capsys.readouterr()
    at = error.find("error: ")
    told = error[at:]
    assert status == 1
    assert error.count("error: ") == 1 == sum(it.startswith("error: ") for it in error.splitlines())
    assert not case.lines or told.count("\n") == case.lines
    assert case.place in told
    assert case.remedy in told
    assert not INTERNAL.search(JINJA.sub("", told))
    assert "traceback" not in error.lower()
    assert "hf_secret" not in out + error
    after = seen(place.folder)
    assert {name: after.get(name) for name in before} == before
    left = after.keys() - before.keys()
    assert {name for name in left if not any(fnmatch(name, it) for it in case.leaves)} == set()
    assert taken < SECONDS


def test_the_counts_by_kind() -> None:
    """`-s` prints them, for docs/reliability.md."""
    counts = Counter(case.kind for case in CASES)
    print(", ".join(f"{kind} {counts[kind]}" for kind in KINDS), f"in all {len(CASES)}")
    assert set(counts) == set(KINDS)
    assert all(case.place and case.remedy for case in CASES)
    assert len({f"{case.kind}: {case.name}" for case in CASES}) == len(CASES) >= FEWEST

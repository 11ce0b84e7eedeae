"""What tests of several stages share: a tiny model, real data where there is some, a hub."""

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.hub.repositories import real_hub
from tests.hub.server import Hub, serve

os.environ["HF_HUB_OFFLINE"] = "1"
# Expected numbers are those of float32 on a CPU, also on a machine with a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# `make test &` ignores SIGINT, and `nohup make test` SIGHUP; every process that a test starts would
# too. A handler is not inherited: these processes get the default, and tests outlive a hangup.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)
# Tests run beside each other: more threads would only compete.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    "Ada has 3 pens. She finds 4 more. How many pens does Ada have now? 3 + 4 = 7 pens #### 7",
    "Write a title for a video. Idea: pocket knots for beginners. A Short Guide to Knots.",
    "Human: How do I fix a door? Assistant: Begin by tightening the screws.",
]
SETTINGS = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "steps": 3,
    "batch_size": 2,
    "sequence_length": 16,
    "learning_rate": 1e-2,
    "warmup_steps": 1,
    "seed": 0,
}


FIRST = ("tests/workflow/test_dag.py", "tests/benchmarks/", "tests/train/", "tests/workflow/")
"""What takes longest comes first. One worker makes the run that all of tests/workflow shares; the
others have something else to do meanwhile."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first."""

    def place(item: pytest.Item) -> int:
        return next((n for n, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of a small, barely trained Llama; 4-bit blocks need widths of 64."""
    from scripts.models.demo import ModelSettings, pack, pretrain, save, train_tokenizer
    from scripts.models.manifest import write_manifest

    folder = tmp_path_factory.mktemp("tiny")
    settings = ModelSettings(**SETTINGS)
    tokenizer = train_tokenizer(TEXTS, settings.vocab_size)
    model = pretrain(settings, pack(TEXTS * 4, tokenizer, settings.sequence_length), tokenizer)
    save(model, tokenizer, folder / "snapshot")
    write_manifest(folder / "manifest.json", folder / "snapshot", {"source": "demo"})
    return folder / "manifest.json"


@pytest.fixture
def snapshot(tiny_model: Path, tmp_path: Path) -> Path:
    """Return the folder of a model's copy that may be spoiled; its manifest lies beside it."""
    shutil.copytree(tiny_model.parent, tmp_path / "model")
    return tmp_path / "model" / "snapshot"


@pytest.fixture(scope="session")
def hub() -> Path:
    """Return the folder of real hub repositories; skip the tests that use it where it is absent."""
    folder = real_hub()
    if not folder.is_dir():
        pytest.skip(f"no real hub repositories at {folder} (set PREFMAKE_HUB)")
    return folder


@contextmanager
def no_file_grows(beyond: int) -> Iterator[None]:
    """Make this process's writes fail as on a full disk, once a file has so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder, hidden ones too, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hub]]:
    """Return a function that takes the arguments of `serve`, starts a hub on the loopback
    interface, and makes this process, which retries without waiting, and its children use it.
    """
    from huggingface_hub import close_session, constants

    from scripts.common import hub

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(hub, "WAITS", (0, 0))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with ExitStack() as stack:

        def start(*roots: Path, **options: object) -> Hub:
            hub = stack.enter_context(serve(*roots, **options))
            monkeypatch.setenv("HF_ENDPOINT", hub.url)
            return hub

        yield start
        close_session()

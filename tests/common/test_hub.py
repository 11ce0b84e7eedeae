"""The hub: what is downloaded, what is refused, what is said, and what the library lacks."""

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.common import hub as client
from scripts.common.cli import BadInput, one_line
from scripts.common.hub import Repository
from tests.conftest import ROOT, contents
from tests.hub.repositories import (
    COMMIT,
    MODEL,
    OTHER_FILES,
    SHARD,
    TOKENIZER_FILES,
    WEIGHT_FILES,
    write_model,
)
from tests.hub.server import Fault, Hub

Start = Callable[..., Hub]
TOKEN = "hf_loopbackSecret123"
ALL_FILES = sorted([*TOKENIZER_FILES, *WEIGHT_FILES, *OTHER_FILES])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return the folder of a model repository of the loopback hub."""
    return write_model(tmp_path / "hub")


@pytest.fixture
def hub(source: Path, tmp_path: Path, loopback: Start, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Return a running hub that has the model at a commit; the library does not wait for it."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    # It writes nothing of the last chunk before a break.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    return loopback(tmp_path / "hub", commits={MODEL: COMMIT})


def fetch(tmp_path: Path, revision: str = COMMIT, **options: list[str]) -> Path:
    return Repository(MODEL, revision, "model", **options).download(tmp_path / "got")


def ranges(hub: Hub, name: str) -> list[str | None]:
    """Return the range that each request for a file's bytes asked for."""
    return [r.range for r in hub.requests if r.path.endswith(name) and r.sent_bytes]


def test_a_repository_is_downloaded_whole_and_once(source: Path, tmp_path: Path, hub: Hub) -> None:
    (source / "empty.txt").touch()
    (source / "a folder").mkdir()
    (source / "a folder" / "100 % né.json").write_text("{}")
    repository = Repository(MODEL, "main", "model")
    assert repository.download(tmp_path / "got") == tmp_path / "got" / COMMIT
    assert repository.origin == {"source": "hub", "repository": MODEL, "commit": COMMIT}
    assert contents(tmp_path / "got" / COMMIT) == contents(source)
    assert hub.sent() == sorted([*ALL_FILES, "a folder/100 % né.json"])
    hub.requests.clear()
    fetch(tmp_path)
    assert hub.sent() == []
    assert [request.path for request in hub.requests] == [f"/api/models/{MODEL}/revision/{COMMIT}"]


def test_patterns_select_what_is_taken_and_counted(source: Path, tmp_path: Path, hub: Hub) -> None:
    small = {"patterns": ["*.json", "*.jinja"], "without": ["*.index.json"]}
    expected = sum((source / name).stat().st_size for name in TOKENIZER_FILES)
    assert Repository(MODEL, COMMIT, "model", **small).bytes == expected
    assert hub.sent() == []
    assert sorted(contents(fetch(tmp_path, **small))) == TOKENIZER_FILES
    assert hub.sent() == TOKENIZER_FILES


def test_a_broken_connection_resumes_within_one_call(
    source: Path, tmp_path: Path, hub: Hub
) -> None:
    hub.faults = [Fault(f"*/{SHARD}", cut=100_000, times=2)]
    assert contents(fetch(tmp_path)) == contents(source)
    assert ranges(hub, SHARD) == [None, "bytes=100000-", "bytes=200000-"]


def test_a_killed_download_resumes(source: Path, tmp_path: Path, hub: Hub) -> None:
    """From what a killed process left, even if it is whole already."""
    folder = tmp_path / "got" / COMMIT
    folder.mkdir(parents=True)
    (folder / f"{SHARD}.partial").write_bytes((source / SHARD).read_bytes()[:1234])
    (folder / "config.json.partial").write_bytes((source / "config.json").read_bytes())
    assert contents(fetch(tmp_path)) == contents(source)
    assert ranges(hub, SHARD) == ["bytes=1234-"]
    assert ranges(hub, "/config.json") == []


@pytest.mark.parametrize("name", [SHARD, "config.json"])
def test_a_file_with_another_digest_is_named_and_downloaded_again(
    source: Path, tmp_path: Path, hub: Hub, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the hub sends other bytes, or they change on the disk."""
    wrong = b"x" * (source / name).stat().st_size
    hub.faults = [Fault(f"*/{name}", body=wrong, times=1)]
    kind = "sha256 [0-9a-f]{64}" if name == SHARD else "git blob [0-9a-f]{40}"
    with pytest.raises(BadInput, match=f"{name}: found {kind}, expected {kind}; deleted"):
        fetch(tmp_path)
    assert not list((tmp_path / "got").rglob(f"{name}*"))
    folder = fetch(tmp_path)
    (folder / name).write_bytes(wrong)
    assert contents(fetch(tmp_path)) == contents(source)
    assert f"{name}: has another digest; downloaded again" in capsys.readouterr().err


def test_another_commit_than_the_pinned_one_is_refused(tmp_path: Path, hub: Hub) -> None:
    other = "f" * 40
    with pytest.raises(BadInput, match=rf"model {MODEL}@{other}: no such revision \(404\)"):
        fetch(tmp_path, other)
    answer = {"id": MODEL, "sha": other, "siblings": []}
    hub.faults = [Fault("/api/*", body=json.dumps(answer).encode())]
    with pytest.raises(BadInput, match=rf"{COMMIT}: the hub answers with another commit, {other}"):
        fetch(tmp_path)
    assert not (tmp_path / "got").exists()


def answer(hub: Hub, sha: object, *siblings: dict[str, object]) -> None:
    """Let the hub answer with a listing of files that are there in git, unless they say other."""
    there = {"size": 1, "blobId": "a" * 40}
    listing = {"id": MODEL, "sha": sha, "siblings": [there | file for file in siblings]}
    hub.faults = [Fault("/api/*", body=json.dumps(listing).encode())]


@pytest.mark.parametrize(
    "sha",
    ["../../evil", "/tmp/evil", "main", "", None, 7, COMMIT.upper(), f"{COMMIT}/x", f"{COMMIT}\n",
     COMMIT[:39], ["x"]],
)  # fmt: skip
def test_a_commit_is_40_hexadecimal_digits(tmp_path: Path, hub: Hub, sha: object) -> None:
    answer(hub, sha, {"rfilename": "a.json"})
    with pytest.raises(BadInput, match=rf"^model {MODEL}@main: .*which is no commit$"):
        fetch(tmp_path, "main")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]


@pytest.mark.parametrize(
    "name",
    ["../a.json", "/a.json", "a/../../b.json", "./a.json", "a//b.json", "a/", "", "..", "a\\b.json",
     "a\nb.json", "a\x1b[2Jb.json", "a\u2028b.json", "\ud800.json", "x" * 241, 7, None],
)  # fmt: skip
def test_a_name_is_relative_and_plain(tmp_path: Path, hub: Hub, name: object) -> None:
    answer(hub, COMMIT, {"rfilename": name})
    with pytest.raises(BadInput) as caught:
        fetch(tmp_path)
    assert "\n" not in str(caught.value)
    assert "not a plain name" in str(caught.value) or "not answer as a hub" in str(caught.value)
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(
    "listed",
    [
        {"size": None}, {"size": "1"}, {"size": 1.5}, {"size": True}, {"size": -1},
        {"blobId": None}, {"blobId": "a"}, {"blobId": 7}, {"lfs": {"sha256": "a", "size": 1}},
        {"lfs": {"sha256": "../a", "size": 1, "pointerSize": 1}},
    ],
)  # fmt: skip
def test_a_file_is_listed_with_size_and_digest(
    tmp_path: Path, hub: Hub, listed: dict[str, object]
) -> None:
    answer(hub, COMMIT, {"rfilename": "a.json"} | listed)
    with pytest.raises(BadInput, match=r"a\.json: listed with|does not answer as a hub does"):
        fetch(tmp_path)


@pytest.mark.parametrize(
    "names",
    [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"], ["a", "a.partial"]],
)
def test_files_that_are_in_each_others_way(tmp_path: Path, hub: Hub, names: list[str]) -> None:
    answer(hub, COMMIT, *({"rfilename": name} for name in names))
    with pytest.raises(BadInput, match="listed twice, or as another's folder or part"):
        fetch(tmp_path)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b'{"siblings": 3}', b"[" * 100_000, b"\xff"])
def test_what_is_no_listing(tmp_path: Path, hub: Hub, body: bytes) -> None:
    hub.faults = [Fault("/api/*", body=body)]
    with pytest.raises(BadInput, match=r"does not answer as a hub does|which is no commit"):
        fetch(tmp_path)


def test_a_listing_without_end_is_refused(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_LISTING", 1000)
    with pytest.raises(BadInput, match="a listing of more than 1,000 bytes"):
        fetch(tmp_path)


@pytest.mark.parametrize("name", [SHARD, "config.json"])
def test_a_download_stops_at_the_listed_size(
    source: Path, tmp_path: Path, hub: Hub, name: str
) -> None:
    """Whether it begins or resumes, and if the hub ignores where it should resume."""
    listed = (source / name).stat().st_size
    hub.faults = [Fault(f"*/{name}", body=b"x" * (listed + 200_000))]
    partial = tmp_path / "got" / COMMIT / f"{name}.partial"
    for there in (0, 100):
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"x" * there)
        with pytest.raises(
            BadInput, match=f"{name}: longer than the {listed:,} bytes that the hub"
        ):
            fetch(tmp_path)
        assert not partial.exists()
        assert not partial.with_suffix("").exists()


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault("*/resolve/*/config.json", status=404, code="EntryNotFound"),
         "config.json: the hub lists this file but does not have it (404)"),
        (Fault("/api/*", status=404, code="RepoNotFound"),
         "no such repository, or a private one, which needs a token in the environment variable"
         " HF_TOKEN (404)"),
        (Fault("/api/*", status=401),
         "refused: the environment variable HF_TOKEN must hold a token with access (401)"),
        (Fault("*/resolve/*/config.json", status=403, code="GatedRepo"),
         "config.json: gated: the environment variable HF_TOKEN must hold a token of an account"
         " that was granted access on the repository's page (403)"),
        (Fault("/api/*", status=429), "too many requests to the hub (429)"),
        (Fault("*/resolve/*/config.json", status=503), "config.json: the hub has failed (503)"),
        (Fault("/api/*", status=418), "refused (418)"),
        (Fault("/api/*", body=b"<html>"), "127.0.0.1 does not answer as a hub does"),
    ],
)  # fmt: skip
def test_each_error_is_one_line(
    tmp_path: Path, hub: Hub, fault: Fault, line: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It never shows the token, though the loopback hub's errors repeat what it was sent."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults = [fault]
    with pytest.raises(BadInput) as caught:
        fetch(tmp_path)
    where, _, reason = str(caught.value).partition(": ")
    assert where == f"model {MODEL}@{COMMIT}"
    assert reason.replace(os.environ["HF_ENDPOINT"].removeprefix("http://"), "127.0.0.1") == line
    assert TOKEN not in str(caught.value) + "".join(capfd.readouterr())
    assert any(request.authorization == f"Bearer {TOKEN}" for request in hub.requests)


@pytest.mark.parametrize("path", ["/api/*", "*/resolve/*/config.json", f"/large/*/{SHARD}"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again(
    source: Path, tmp_path: Path, hub: Hub, path: str, status: int
) -> None:
    hub.faults = [Fault(path, status=status, times=len(client.WAITS))]
    assert contents(fetch(tmp_path)) == contents(source)
    assert [r.status for r in hub.requests].count(status) == len(client.WAITS)


def test_a_name_that_is_no_repository_is_refused(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(BadInput, match=r"model a/b/c@main: not a repository's name"):
        Repository("a/b/c", "main", "model").download(tmp_path)


def test_a_hub_that_is_switched_off_is_one_line(tmp_path: Path) -> None:
    """The tests' own environment switches it off."""
    with pytest.raises(BadInput, match="not downloaded, because HF_HUB_OFFLINE switches"):
        fetch(tmp_path)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_hub_out_of_reach_is_one_line(
    tmp_path: Path, kind: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 9 refuses at once, and is not asked again."""
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@127.0.0.1:9/")
    with pytest.raises(BadInput) as caught:
        Repository("owner/name", "main", kind).download(tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{kind} owner/name@main: no connection to 127.0.0.1:9: ")
    assert "secret" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "folder", ["nowhere", "hub/models", "hub/models/owner/model/config.json", ""]
)
def test_a_folder_without_repositories_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.chdir(source)
    place = tmp_path / folder if folder else ""
    monkeypatch.setenv("HF_ENDPOINT", f"file:{place}")
    with pytest.raises(BadInput) as refused:
        fetch(tmp_path)
    assert str(refused.value) == (
        f"HF_ENDPOINT: found file:{place}; allowed after file: is a folder that holds"
        " datasets/owner/name or models/owner/name"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("owner/none", "{hub}/models/owner/none: no such folder"),
        ("../owner", "not a repository's name, which is owner/name"),
        ("owner/..", "not a repository's name, which is owner/name"),
    ],
)
def test_a_folder_lacks_a_repository(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"file:{tmp_path}/hub")
    with pytest.raises(BadInput) as refused:
        Repository(name, "main", "model").download(tmp_path / "got")
    assert str(refused.value) == f"model {name}@main: {line.format(hub=tmp_path / 'hub')}"
    assert not (tmp_path / "got").exists()


def test_a_folders_files_are_copied_once_and_a_changed_one_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"file:{tmp_path}/hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = Repository(MODEL, COMMIT, "model")
    got = repository.download(tmp_path / "got")
    assert contents(got) == contents(source)
    assert repository.origin == {"source": "folder", "repository": MODEL, "commit": None}
    before = (got / SHARD).stat().st_ino
    (got / "config.json").write_text("{}")
    assert fetch(tmp_path) == got
    assert contents(got) == contents(source)
    assert (got / SHARD).stat().st_ino == before
    (source / "config.json").write_text("{}")
    assert fetch(tmp_path) != got


def test_progress_is_printed(
    source: Path, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(client, "REPORT_EVERY", 0)
    fetch(tmp_path)
    total = sum(path.stat().st_size for path in source.iterdir())
    first, *_, last_count, last = capsys.readouterr().err.splitlines()
    assert first == f"model {MODEL} at {COMMIT}: {len(ALL_FILES)} files, {total:,} bytes"
    assert last_count == f"model {MODEL}: {total:,} of {total:,} bytes"
    assert last == f"model {MODEL}: every file has its listed digest"


# ------------------------------------------------------------------------------------------ token


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Download in a process whose home holds another token, as `hf auth login` leaves it."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "token").write_text("hf_fromFile456")
    code = (
        "from pathlib import Path\n"
        "from scripts.common.cli import run\n"
        "from scripts.common.hub import Repository\n"
        f"run(lambda: Repository('{MODEL}', '{COMMIT}', 'model').download(Path('got')) and 0)"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_token_is_sent_to_the_hub_and_not_to_its_storage(
    source: Path, tmp_path: Path, hub: Hub
) -> None:
    hub.token = TOKEN
    done = run(tmp_path, HF_TOKEN=f" {TOKEN}\n", HF_DEBUG="1")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "got" / COMMIT) == contents(source)
    for request in hub.requests:
        storage = request.path.startswith("/large/")
        assert request.authorization == (None if storage else f"Bearer {TOKEN}")
    assert TOKEN not in done.stdout + done.stderr


def test_a_token_on_the_disk_is_not_used(tmp_path: Path, hub: Hub) -> None:
    hub.token = "hf_fromFile456"
    done = run(tmp_path)
    assert done.returncode == 1
    assert "HF_TOKEN" in done.stderr.splitlines()[-1]
    assert {request.authorization for request in hub.requests} == {None}


JSON = {"rfilename": "a.json", "size": 3, "blobId": "a" * 40}


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/api/*", f"{TOKEN} 200\r\n\r\n"),
        ("/api/*", f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n"),
        ("/api/*", f"HTTP/1.1 302 Found\r\nLocation: {TOKEN}://u:{TOKEN}@x/?token={TOKEN}\r\n\r\n"),
        ("*/config.json", f"{TOKEN} 200\r\n\r\n"),
    ],
)
def test_a_hub_that_repeats_the_token_outside_of_an_answer(
    tmp_path: Path, hub: Hub, path: str, raw: str,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults = [Fault(path, raw=raw.encode())]
    with pytest.raises(BadInput) as caught:
        fetch(tmp_path)
    said = one_line(caught.value) + "".join(capfd.readouterr())
    assert "the connection to 127.0.0.1" in said
    assert TOKEN.lower() not in said.lower()


@pytest.mark.parametrize(
    ("sha", "file"),
    [
        (TOKEN, JSON),
        (COMMIT, JSON | {"rfilename": f"{TOKEN}.json"}),
        (COMMIT, JSON | {"rfilename": f"../{TOKEN}.json"}),
        (COMMIT, JSON | {"blobId": TOKEN}),
        (COMMIT, JSON | {"lfs": {"sha256": TOKEN, "size": 3, "pointerSize": 1}}),
    ],
)
def test_a_listing_that_holds_the_token_is_refused(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, sha: str, file: dict[str, object]
) -> None:
    """Names and commits stand in records and logs."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    answer(hub, sha, file)
    with pytest.raises(BadInput, match=r"the hub's answer holds the token of \$HF_TOKEN$"):
        fetch(tmp_path, "main")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("name", ["a.json", "chat_template.jinja"])
def test_a_file_that_holds_the_token_is_refused(
    source: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its text could stand in every prompt."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (source / name).write_text(f'{{"a": "{TOKEN}"}}')
    with pytest.raises(BadInput, match=rf"{name}: holds the token of \$HF_TOKEN; deleted$"):
        fetch(tmp_path)
    assert not any(TOKEN.encode() in it for it in contents(tmp_path / "got").values())


def test_a_password_in_the_hubs_address_is_not_shown(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor where the library says that it tries again."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://user:pa55word@"))
    said = io.StringIO()
    for handler in logging.getLogger("huggingface_hub").handlers:
        monkeypatch.setattr(handler, "stream", said)
    hub.faults = [Fault("/api/*", status=503)]
    with pytest.raises(BadInput, match=r"the hub has failed \(503\)") as caught:
        fetch(tmp_path)
    assert "://…@127.0.0.1" in said.getvalue()
    assert "pa55word" not in one_line(caught.value) + "".join(capfd.readouterr()) + said.getvalue()


@pytest.mark.parametrize("token", ["two words", "hf_né", "a\nb"])
def test_what_cannot_be_a_token_is_refused_and_not_shown(
    tmp_path: Path, hub: Hub, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BadInput, match="HF_TOKEN: not a token") as caught:
        fetch(tmp_path)
    assert token not in str(caught.value)


# ------------------------------------------------------------------------- what the library lacks
# When one of these fails, the library has learned it, and scripts/common/hub.py can shrink.


def library(tmp_path: Path, **options: object) -> Path:
    """Download a file with huggingface_hub alone."""
    from huggingface_hub import hf_hub_download

    folder = tmp_path / "library"
    return Path(
        hf_hub_download(
            MODEL,
            SHARD,
            revision=COMMIT,
            local_dir=folder,
            endpoint=os.environ["HF_ENDPOINT"],
            token=False,
            **options,
        )
    )


def test_the_library_starts_a_killed_download_again(tmp_path: Path, hub: Hub) -> None:
    class Killed(client._Progress):
        def update(self, count: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library(tmp_path, tqdm_class=Killed("", 0))
    library(tmp_path)
    assert ranges(hub, SHARD) == [None, None]


def test_the_library_compares_no_digest(source: Path, tmp_path: Path, hub: Hub) -> None:
    wrong = b"x" * (source / SHARD).stat().st_size
    hub.faults = [Fault(f"*/{SHARD}", body=wrong)]
    assert library(tmp_path).read_bytes() == wrong


def test_the_library_does_not_ask_a_failing_hub_again(tmp_path: Path, hub: Hub) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    hub.faults = [Fault(f"/large/*/{SHARD}", status=503)]
    with pytest.raises(HfHubHTTPError):
        library(tmp_path)
    assert [request.status for request in hub.requests].count(503) == 1

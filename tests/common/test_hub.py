"""The hub: what is fetched, what is refused, and what is said."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.common import hub as client
from scripts.common.cli import BadInput
from scripts.common.hub import download, repository_bytes
from tests.conftest import ROOT
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
    return write_model(tmp_path / "hub")


def fetch(tmp_path: Path, revision: str = COMMIT, **options: list[str]) -> Path:
    return download(MODEL, revision, "model", tmp_path / "got", **options)[0]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_repository_comes_whole_and_once(source: Path, tmp_path: Path, loopback: Start) -> None:
    (source / "empty.txt").touch()
    (source / "a folder").mkdir()
    (source / "a folder" / "100 % né.json").write_text("{}")
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    folder, commit = download(MODEL, COMMIT, "model", tmp_path / "got")
    assert (folder, commit) == (tmp_path / "got" / COMMIT, COMMIT)
    assert contents(folder) == contents(source)
    assert hub.sent() == sorted([*ALL_FILES, "a folder/100 % né.json"])
    hub.requests.clear()
    assert fetch(tmp_path) == folder
    assert hub.sent() == []
    assert [request.path for request in hub.requests] == [f"/api/models/{MODEL}/revision/{COMMIT}"]


def test_main_is_recorded_as_its_commit(source: Path, tmp_path: Path, loopback: Start) -> None:
    loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    assert download(MODEL, "main", "model", tmp_path / "got") == (tmp_path / "got" / COMMIT, COMMIT)


def test_patterns_select_what_is_taken_and_counted(
    source: Path, tmp_path: Path, loopback: Start
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    small = {"patterns": ["*.json", "*.jinja"], "without": ["*.index.json"]}
    expected = sum((source / name).stat().st_size for name in TOKENIZER_FILES)
    assert repository_bytes(MODEL, COMMIT, "model", **small) == expected
    assert hub.sent() == []
    assert sorted(contents(fetch(tmp_path, **small))) == TOKENIZER_FILES
    assert hub.sent() == TOKENIZER_FILES


@pytest.mark.parametrize("name", [SHARD, "tokenizer.json"])
def test_an_interrupted_file_goes_on_where_it_stopped(
    source: Path, tmp_path: Path, loopback: Start, name: str
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    tries = len(client.WAITS) + 1
    hub.faults = [Fault(f"*/{name}", cut=90, times=tries)]
    with pytest.raises(BadInput, match=rf"{name}: the connection to 127\.0\.0\.1:\d+ broke: "):
        fetch(tmp_path)
    assert not (tmp_path / "got" / COMMIT / name).exists()
    hub.requests.clear()
    assert contents(fetch(tmp_path)) == contents(source)
    ranges = [r.range for r in hub.requests if r.path.endswith(name) and r.sent_bytes]
    assert ranges == [f"bytes={90 * tries}-"]


def test_a_broken_connection_is_taken_up_within_one_call(
    source: Path, tmp_path: Path, loopback: Start
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    hub.faults = [Fault(f"*/{SHARD}", cut=100_000, times=2)]
    assert contents(fetch(tmp_path)) == contents(source)
    ranges = [r.range for r in hub.requests if r.path.endswith(SHARD) and r.sent_bytes]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_a_killed_download_goes_on(source: Path, tmp_path: Path, loopback: Start) -> None:
    """What a process that was killed has left behind is taken up, also where it is too long."""
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    folder = tmp_path / "got" / COMMIT
    folder.mkdir(parents=True)
    whole = (source / SHARD).read_bytes()
    (folder / f"{SHARD}.partial").write_bytes(whole[:1234])
    (folder / "config.json.partial").write_bytes((source / "config.json").read_bytes())
    assert contents(fetch(tmp_path)) == contents(source)
    ranges = {r.path.rpartition("/")[2]: r.range for r in hub.requests if r.sent_bytes}
    assert ranges[SHARD] == "bytes=1234-"
    assert "config.json" not in ranges


@pytest.mark.parametrize("name", [SHARD, "config.json"])
def test_changed_bytes_under_the_same_name_are_named(
    source: Path, tmp_path: Path, loopback: Start, name: str
) -> None:
    """Once by a hub that sends other bytes; the next run fetches them anew."""
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    wrong = b"x" * (source / name).stat().st_size
    hub.faults = [Fault(f"*/{name}", body=wrong, times=1)]
    kind = "sha256 [0-9a-f]{64}" if name == SHARD else "git blob [0-9a-f]{40}"
    with pytest.raises(BadInput, match=f"{name}: found {kind}, expected {kind}; deleted"):
        fetch(tmp_path)
    assert not list((tmp_path / "got").rglob(f"{name}*"))
    assert contents(fetch(tmp_path)) == contents(source)


def test_a_file_changed_on_disk_is_fetched_anew(
    source: Path, tmp_path: Path, loopback: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    shard = fetch(tmp_path) / SHARD
    shard.write_bytes(b"x" * shard.stat().st_size)
    hub.requests.clear()
    assert contents(fetch(tmp_path)) == contents(source)
    assert hub.sent() == [SHARD]
    assert f"{SHARD}: not the file that the hub lists; fetched anew" in capsys.readouterr().err


def test_another_commit_than_the_pinned_one_is_refused(
    source: Path, tmp_path: Path, loopback: Start
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    other = "f" * 40
    with pytest.raises(BadInput, match=rf"model {MODEL}@{other}: no such revision \(404\)"):
        fetch(tmp_path, other)
    answer = {"id": MODEL, "sha": other, "siblings": []}
    hub.faults = [Fault("/api/*", body=json.dumps(answer).encode())]
    with pytest.raises(BadInput, match=rf"{COMMIT}: the hub answers with another commit, {other}"):
        fetch(tmp_path)
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ({"rfilename": "../a.json", "size": 1, "blobId": "a"}, "lies outside the repository"),
        ({"rfilename": "/a.json", "size": 1, "blobId": "a"}, "lies outside the repository"),
        ({"rfilename": "a.json"}, "the hub lists no size and digest of it"),
    ],
)
def test_a_listing_that_cannot_be_kept_to_is_refused(
    source: Path, tmp_path: Path, loopback: Start, listed: dict[str, object], reason: str
) -> None:
    answer = json.dumps({"id": MODEL, "sha": COMMIT, "siblings": [listed]}).encode()
    faults = [Fault("/api/*", body=answer)]
    loopback(tmp_path / "hub", commits={MODEL: COMMIT}, faults=faults)
    with pytest.raises(BadInput, match=rf"a\.json: {reason}"):
        fetch(tmp_path)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault("*/resolve/*/config.json", status=404, code="EntryNotFound"),
         "config.json: the hub lists this file but does not have it (404)"),
        (Fault("*/resolve/*/config.json", status=404), "config.json: not found (404)"),
        (Fault("/api/*", status=404, code="RepoNotFound"),
         "no such repository, or a private one, which only a token in the environment variable"
         " HF_TOKEN opens (404)"),
        (Fault("/api/*", status=401),
         "refused: the environment variable HF_TOKEN must hold a token that may read it (401)"),
        (Fault("/api/*", status=403),
         "refused: the environment variable HF_TOKEN must hold a token that may read it (403)"),
        (Fault("*/resolve/*/config.json", status=401, code="GatedRepo"),
         "config.json: gated: the environment variable HF_TOKEN must hold a token of an account"
         " that was granted access on the repository's page (401)"),
        (Fault("*/resolve/*/config.json", status=403, code="GatedRepo"),
         "config.json: gated: the environment variable HF_TOKEN must hold a token of an account"
         " that was granted access on the repository's page (403)"),
        (Fault("/api/*", status=429), "the hub has been asked too often (429)"),
        (Fault("*/resolve/*/config.json", status=429),
         "config.json: the hub has been asked too often (429)"),
        (Fault("/api/*", status=500), "the hub has failed (500)"),
        (Fault("*/resolve/*/config.json", status=503), "config.json: the hub has failed (503)"),
        (Fault("/api/*", status=418), "refused (418)"),
        (Fault("/api/*", body=b"<html>"), "127.0.0.1 does not answer as a hub does"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line(
    source: Path, tmp_path: Path, loopback: Start, fault: Fault, line: str
) -> None:
    loopback(tmp_path / "hub", commits={MODEL: COMMIT}, faults=[fault])
    with pytest.raises(BadInput) as caught:
        fetch(tmp_path)
    where, _, reason = str(caught.value).partition(": ")
    assert where == f"model {MODEL}@{COMMIT}"
    assert reason.replace(os.environ["HF_ENDPOINT"].removeprefix("http://"), "127.0.0.1") == line


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", ["/api/*", "*/resolve/*/config.json", f"/large/*/{SHARD}"])
def test_a_busy_hub_is_asked_again(
    source: Path, tmp_path: Path, loopback: Start, path: str, status: int
) -> None:
    hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    hub.faults = [Fault(path, status=status, times=len(client.WAITS))]
    assert contents(fetch(tmp_path)) == contents(source)
    assert [r.status for r in hub.requests].count(status) == len(client.WAITS)


def test_the_hub_says_how_long_to_wait() -> None:
    from httpx import Request, Response
    from huggingface_hub.errors import HfHubHTTPError

    def wait(**headers: str) -> float:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = Response(429, headers=named, request=Request("GET", "http://hub"))
        return client._asked_wait(HfHubHTTPError("", response=response), 8)

    assert wait() == 8
    assert wait(Retry_After="7") == 7
    assert wait(Retry_After="Wed, 21 Oct 2026 07:28:00 GMT") == 8
    assert wait(Retry_After="99999") == client.LONGEST_WAIT
    assert wait(Retry_After="7", RateLimit='"api";r=0;t=55') == 55
    assert wait(RateLimit='"api";r=10;t=55') == 8


def test_a_name_that_is_no_repository_is_refused(tmp_path: Path, loopback: Start) -> None:
    loopback(tmp_path)
    with pytest.raises(BadInput, match=r"model a/b/c@main: not a repository's name"):
        download("a/b/c", "main", "model", tmp_path)


def test_the_hub_switched_off_is_one_line(tmp_path: Path) -> None:
    """The tests' own environment switches it off."""
    with pytest.raises(BadInput, match="not fetched, because HF_HUB_OFFLINE switches the hub off"):
        fetch(tmp_path)


def test_large_downloads_say_how_far_they_are(
    source: Path, tmp_path: Path, loopback: Start, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    loopback(tmp_path / "hub", commits={MODEL: COMMIT})
    total = sum(path.stat().st_size for path in source.iterdir())
    first = f"model {MODEL} at {COMMIT}: {len(ALL_FILES)} files, {total:,} bytes"
    last = f"model {MODEL}: every file is as the hub lists it"
    fetch(tmp_path)
    assert capsys.readouterr().err.splitlines() == [first, last]
    monkeypatch.setattr(client, "REPORT_EVERY", 0)
    fetch(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == f"model {MODEL}: {total:,} of {total:,} bytes"


class TestToken:
    """It comes from the environment alone, goes to the hub alone, and is never shown."""

    def run(self, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own, whose home holds another token, as `hf auth login` leaves it."""
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        (home / "token").write_text("hf_fromFile456")
        code = (
            "from pathlib import Path\n"
            "from scripts.common.cli import run\n"
            "from scripts.common.hub import download\n"
            f"run(lambda: download('{MODEL}', '{COMMIT}', 'model', Path('got')) and 0)"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(home), **environment},
            capture_output=True,
            text=True,
        )

    def test_it_goes_to_the_hub_and_not_to_its_storage(
        self, source: Path, tmp_path: Path, loopback: Start
    ) -> None:
        hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT}, token=TOKEN)
        hub.faults = [Fault("*/resolve/*/config.json", status=500, times=1)]
        done = self.run(tmp_path, HF_TOKEN=f" {TOKEN}\n", HF_DEBUG="1")
        assert done.returncode == 0, done.stderr
        assert contents(tmp_path / "got" / COMMIT) == contents(source)
        for request in hub.requests:
            storage = request.path.startswith("/large/")
            assert request.authorization == (None if storage else f"Bearer {TOKEN}")
        assert TOKEN not in done.stdout + done.stderr

    def test_one_left_by_a_login_is_not_used(
        self, source: Path, tmp_path: Path, loopback: Start
    ) -> None:
        hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT}, token="hf_fromFile456")
        done = self.run(tmp_path)
        assert done.returncode == 1
        assert "HF_TOKEN" in done.stderr.splitlines()[-1]
        assert {request.authorization for request in hub.requests} == {None}

    @pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
    def test_no_error_shows_it(
        self, source: Path, tmp_path: Path, loopback: Start, status: int,
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """The loopback hub's errors repeat what it was sent, in header and text."""
        hub = loopback(tmp_path / "hub", commits={MODEL: COMMIT})
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for path in ("/api/*", "*/config.json"):
            hub.faults = [Fault(path, status=status)]
            with pytest.raises(BadInput) as caught:
                fetch(tmp_path)
            assert TOKEN not in str(caught.value) + "".join(capfd.readouterr())
        assert any(request.authorization == f"Bearer {TOKEN}" for request in hub.requests)

    @pytest.mark.parametrize("token", ["two words", "hf_né", "a\nb"])
    def test_what_cannot_be_one_is_refused_unshown(
        self, tmp_path: Path, loopback: Start, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loopback(tmp_path)
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(BadInput, match="HF_TOKEN: not a token") as caught:
            fetch(tmp_path)
        assert token not in str(caught.value)


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_hub_out_of_reach_is_one_line(
    tmp_path: Path, kind: str, loopback: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 9 refuses at once, and is not asked again."""
    monkeypatch.setenv("HF_ENDPOINT", "http://user:secret@127.0.0.1:9/")
    with pytest.raises(BadInput) as caught:
        download("owner/name", "main", kind, tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{kind} owner/name@main: no connection to 127.0.0.1:9: ")
    assert "secret" not in line
    assert "\n" not in line

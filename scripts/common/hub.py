"""The hub: a repository's files at a commit, each as the hub lists it.

huggingface_hub 1.33 deletes a file whose download was interrupted, over HTTP and Xet alike, and
compares no digest. So files are streamed here, over that library's HTTP session, and compared with
what the hub lists.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from scripts.common.cli import BadInput
from scripts.common.files import sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import HfApi, RepoSibling

T = TypeVar("T")

WORKERS = 4  # files at a time
WAITS = (1, 2, 4, 8)  # seconds before each further try, unless the hub asks for others
LONGEST_WAIT = 600
REPORT_EVERY = 30  # seconds between two lines of progress

# What an error code of the hub's means, or else its status.
REASONS = {
    "GatedRepo": "gated: the environment variable HF_TOKEN must hold a token of an account that"
    " was granted access on the repository's page",
    "RepoNotFound": "no such repository, or a private one, which only a token in the environment"
    " variable HF_TOKEN opens",
    "RevisionNotFound": "no such revision",
    "EntryNotFound": "the hub lists this file but does not have it",
    "401": "refused: the environment variable HF_TOKEN must hold a token that may read it",
    "403": "refused: the environment variable HF_TOKEN must hold a token that may read it",
    "404": "not found",
    "429": "the hub has been asked too often",
}


@dataclass(frozen=True)
class Listing:
    """What the hub lists of a repository at a commit."""

    commit: str
    files: list["RepoSibling"]

    @property
    def bytes(self) -> int:
        return sum(file.size or 0 for file in self.files)


def download(
    repository: str,
    revision: str,
    kind: str,
    parent: Path,
    patterns: list[str] | None = None,
    without: list[str] | None = None,
) -> tuple[Path, str]:
    """Downloads a repository into `parent/{commit}`; returns that folder and the commit.

    A folder for each commit, so that no file of another one stays behind. An interrupted file goes
    on where it stopped; one that is there already, as the hub lists it, is not fetched again. A
    token comes from the environment variable HF_TOKEN alone.

    Parameters
    ----------
    kind
        ``model`` or ``dataset``.
    patterns, without
        Which files are taken, and which of these are not; else all.

    Raises
    ------
    BadInput
        When the hub cannot be reached, has no such repository or revision, answers a commit with
        another one, or sends a file that is not the one it lists.
    """
    listing = list_files(repository, revision, kind, patterns, without)
    folder = parent / listing.commit
    where = f"{kind} {repository}@{revision}"
    print(
        f"{kind} {repository} at {listing.commit}: {len(listing.files)} files,"
        f" {listing.bytes:,} bytes",
        file=sys.stderr,
    )
    progress = _Progress(f"{kind} {repository}", listing.bytes)

    def fetch(file: "RepoSibling") -> None:
        with _one_line(f"{where}: {file.rfilename}"):
            url = _url(repository, listing.commit, kind, file.rfilename)
            _fetch(file, url, folder / file.rfilename, progress)

    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for done in as_completed([pool.submit(fetch, file) for file in listing.files]):
                done.result()
        except BaseException:
            progress.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    print(f"{kind} {repository}: every file is as the hub lists it", file=sys.stderr)
    return folder, listing.commit


def repository_bytes(
    repository: str,
    revision: str,
    kind: str,
    patterns: list[str] | None = None,
    without: list[str] | None = None,
) -> int:
    """Returns the size of what `download` would take, without taking it. Raises as it does."""
    return list_files(repository, revision, kind, patterns, without).bytes


def list_files(
    repository: str,
    revision: str,
    kind: str,
    patterns: list[str] | None = None,
    without: list[str] | None = None,
) -> Listing:
    """Returns the commit of a revision and the files in it that patterns select.

    Raises
    ------
    BadInput
        When the hub cannot be reached, has no such repository or revision, answers a commit with
        another one, or lists a file without its digest.
    """
    # Set before the library is first imported: it would ask the hub for more than the files.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants
    from huggingface_hub.utils import filter_repo_objects

    where = f"{kind} {repository}@{revision}"
    with _one_line(where):
        info = _tried_again(
            lambda: _api().repo_info(
                repository,
                revision=revision,
                repo_type=kind,
                files_metadata=True,
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            ),
            time.sleep,
        )
    if not info.sha or (revision != info.sha and revision != "main"):
        raise BadInput(f"{where}: the hub answers with another commit, {info.sha}")
    files = list(
        filter_repo_objects(
            info.siblings or [],
            allow_patterns=patterns,
            ignore_patterns=without,
            key=lambda file: file.rfilename,
        )
    )
    for file in files:
        path = PurePosixPath(file.rfilename)
        if path.is_absolute() or ".." in path.parts:
            raise BadInput(f"{where}: {file.rfilename}: lies outside the repository")
        if file.size is None or not (file.lfs or file.blob_id):
            raise BadInput(f"{where}: {file.rfilename}: the hub lists no size and digest of it")
    return Listing(info.sha, files)


def _api() -> "HfApi":
    """Returns the library's client for the environment as it is now."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return HfApi(endpoint=endpoint or None, token=_token())


def _token() -> str | bool:
    """Returns the token, or False, with which the library sends none that it finds elsewhere."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise BadInput("HF_TOKEN: not a token: it holds a space or a sign beyond ASCII")
    return token or False


def _url(repository: str, commit: str, kind: str, name: str) -> str:
    from huggingface_hub import hf_hub_url

    endpoint = _api().endpoint
    return hf_hub_url(repository, name, repo_type=kind, revision=commit, endpoint=endpoint)


def _fetch(file: "RepoSibling", url: str, target: Path, progress: "_Progress") -> None:
    """Makes `target` the listed file, from what of it is there already."""
    if target.is_file():
        if _digest(target, file) == _listed_digest(file):
            progress.add(file.size)
            return
        print(f"{target}: not the file that the hub lists; fetched anew", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.touch()
    there = partial.stat().st_size
    progress.add(min(there, file.size))
    if there < file.size:
        _tried_again(lambda: _append(url, partial, progress), progress.stopped.wait)
    found = _digest(partial, file)
    if found != _listed_digest(file):
        partial.unlink()
        raise _Changed(
            f"found {found}, expected {_listed_digest(file)}; deleted, so that the next run"
            " fetches it anew"
        )
    partial.replace(target)


def _append(url: str, partial: Path, progress: "_Progress") -> None:
    """Adds to a file what it still lacks."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    start = partial.stat().st_size
    # Compressed on the way, a file could not be gone on with.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream(
        "GET",
        url,
        headers=build_hf_headers(token=_token(), headers=headers),
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as response:
        hf_raise_for_status(response)
        goes_on = start and response.status_code == 206
        if not goes_on:
            progress.add(-start)
        with open(partial, "ab" if goes_on else "wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)
                progress.add(len(piece))


def _digest(path: Path, file: "RepoSibling") -> str:
    """Returns a file's digest of the kind that the hub lists: git's own for files in git."""
    from huggingface_hub.utils.sha import git_hash

    return f"sha256 {sha256(path)}" if file.lfs else f"git blob {git_hash(path.read_bytes())}"


def _listed_digest(file: "RepoSibling") -> str:
    return f"sha256 {file.lfs.sha256}" if file.lfs else f"git blob {file.blob_id}"


class _Changed(Exception):
    """A file that is not the one that the hub lists."""


class _Progress:
    """Counts the bytes that are there, over all threads; a line on stderr now and then."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.there = name, total, 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._next = time.monotonic() + REPORT_EVERY

    def add(self, count: int) -> None:
        """Counts bytes. Raises CancelledError, which ends the thread, when all are to stop."""
        if self.stopped.is_set():
            raise CancelledError
        with self._lock:
            self.there += count
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + REPORT_EVERY
            print(f"{self.name}: {self.there:,} of {self.total:,} bytes", file=sys.stderr)


def _tried_again(call: Callable[[], T], wait: Callable[[float], object]) -> T:
    """Returns what the call returns, in several tries where the hub is busy or a line breaks."""
    from httpx import HTTPError

    for seconds in WAITS:
        try:
            return call()
        except HTTPError as error:
            if not _may_pass(error):
                raise
            seconds = _asked_wait(error, seconds)
            print(f"{_reason(error)}; next try in {seconds} s", file=sys.stderr)
        wait(seconds)
    return call()


def _may_pass(error: Exception) -> bool:
    from httpx import ReadError, ReadTimeout, RemoteProtocolError

    response = getattr(error, "response", None)
    if response is None:
        return isinstance(error, ReadError | ReadTimeout | RemoteProtocolError)
    return response.status_code in (408, 429) or response.status_code >= 500


def _asked_wait(error: Exception, otherwise: float) -> float:
    """Returns the seconds that the hub asks to wait: Retry-After, or its rate limit's window."""
    from huggingface_hub.utils import parse_ratelimit_headers

    response = getattr(error, "response", None)
    if response is None:
        return otherwise
    asked = response.headers.get("Retry-After", "")
    limit = parse_ratelimit_headers(response.headers)
    if limit and not limit.remaining:
        asked = str(limit.reset_in_seconds)
    return min(int(asked), LONGEST_WAIT) if asked.isdecimal() else otherwise


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Turns what goes wrong with the hub into bad input, and says nothing that the hub said."""
    from httpx import HTTPError, InvalidURL
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except (HTTPError, InvalidURL, OfflineModeIsEnabled) as error:
        raise BadInput(f"{where}: {_reason(error)}") from None
    except _Changed as error:
        raise BadInput(f"{where}: {error}") from None
    except HFValidationError:
        raise BadInput(f"{where}: not a repository's name; owner/name is") from None
    except ValueError:
        raise BadInput(f"{where}: {_hub()} does not answer as a hub does") from None
    except OSError as error:
        raise BadInput(f"{where}: {error.strerror or error}") from None


def _reason(error: Exception) -> str:
    from httpx import ConnectError, ConnectTimeout
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "not fetched, because HF_HUB_OFFLINE switches the hub off"
    response = getattr(error, "response", None)
    if response is None:
        no = isinstance(error, ConnectError | ConnectTimeout)
        what = f"no connection to {_hub()}" if no else f"the connection to {_hub()} broke"
        return f"{what}: {str(error) or type(error).__name__}"
    status = str(response.status_code)
    otherwise = "the hub has failed" if status >= "500" else "refused"
    code = response.headers.get("X-Error-Code", "")
    return f"{REASONS.get(code) or REASONS.get(status, otherwise)} ({status})"


def _hub() -> str:
    """Returns the hub's host, without what may stand before it as a password."""
    return urlsplit(_api().endpoint).netloc.rpartition("@")[2] or "HF_ENDPOINT"

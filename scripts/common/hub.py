"""Download a repository's files at a commit from the Hugging Face hub.

What the hub answers is not trusted: a commit is 40 hexadecimal digits, names are relative and
plain, and a file ends at the size that is listed for it.

`huggingface_hub` lists the repository and carries the bytes. What its downloads lack is here: they
delete a file whose download was killed, compare sizes but no digests, do not try again when the hub
fails (5xx) or resets the connection, and may use a token that a login left on disk.
docs/dependencies.md names the tests that show it.

With HF_ENDPOINT=file:FOLDER, a folder stands in for the hub: it holds repositories as
{models,datasets}/owner/name, and knows no commits.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from scripts.common.cli import TOKEN, BadInput, printable, secret, system_error
from scripts.common.files import sha256

WORKERS = 4
"""Number of files downloaded at a time."""
WAITS = (1, 2, 4, 8)
"""Seconds before each further try of a file."""
REPORT_EVERY = 30
"""Seconds between two lines of progress."""

LONGEST_LISTING = 1 << 27
"""Bytes of a listing: about 500,000 files."""
LONGEST_NAME = 240
"""Bytes of a file's or a folder's name; file systems take 255, with the suffix of a part."""
SEARCHED = 1 << 26
"""So many bytes of a file are searched for the token that was sent: more are rows or weights."""
FOLDER = "file:"
"""What HF_ENDPOINT begins with if a folder stands in for the hub."""
BESIDE = (".git", ".cache")
"""What git and the hub's own client put beside a repository's files."""
COMMIT = re.compile("[0-9a-f]{40}")
SHA256 = re.compile("[0-9a-f]{64}")

REASONS = {
    "GatedRepo": "gated: the environment variable HF_TOKEN must hold a token of an account that"
    " was granted access on the repository's page",
    "RepoNotFound": "no such repository, or a private one, which needs a token in the environment"
    " variable HF_TOKEN",
    "RevisionNotFound": "no such revision",
    "EntryNotFound": "the hub lists this file but does not have it",
    "401": "refused: the environment variable HF_TOKEN must hold a token with access",
    "403": "refused: the environment variable HF_TOKEN must hold a token with access",
    "404": "not found",
    "429": "too many requests to the hub",
}
"""What the hub's error codes mean, and its HTTP statuses where it sends none."""


@dataclass(frozen=True)
class Repository:
    """A hub repository, of which some files are wanted.

    Parameters
    ----------
    name
        Owner and name, with a slash between them.
    revision
        A commit, or `main`.
    kind
        `model` or `dataset`.
    patterns, without
        Which files are wanted, and which of these are not, as `fnmatch` patterns; default: all.
    """

    name: str
    revision: str
    kind: str
    patterns: list[str] | None = None
    without: list[str] | None = None

    def download(self, parent: Path) -> Path:
        """Download the files into `parent/{commit}`; return that folder.

        An interrupted file resumes where it stopped, and a file that is already there with the
        listed digest is not downloaded again. The only token used is that in HF_TOKEN.

        Raises
        ------
        BadInput
            If the hub cannot be reached, has no such repository or revision, answers with another
            commit or with names that are not plain, or sends a file that is longer than it lists
            or has another digest; or if HF_ENDPOINT names no folder of repositories.
        """
        folder = parent / self.commit
        where = f"{self.kind} {self.name}"
        origin = f"at {self.commit}" if self.origin["commit"] else f"in {hub_folder()}"
        print(f"{where} {origin}: {len(self.files)} files, {self.bytes:,} bytes", file=sys.stderr)
        progress = _Progress(where, self.bytes)
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                tasks = [pool.submit(self._fetch, file, folder, progress) for file in self.files]
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                progress.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        print(f"{where}: every file has its listed digest", file=sys.stderr)
        return folder

    @property
    def commit(self) -> str:
        """The commit of the revision; of a folder, which has none, a digest of the files that
        stands for it. Raises as `download` does.
        """
        return self._listing.sha

    @property
    def origin(self) -> dict[str, str | None]:
        """What a record says of where the files come from. Raises as `download` does."""
        if hub_folder():
            return {"source": "folder", "repository": self.name, "commit": None}
        return {"source": "hub", "repository": self.name, "commit": self.commit}

    @property
    def bytes(self) -> int:
        """The size of the wanted files. Raises as `download` does."""
        return sum(file.size for file in self.files)

    @cached_property
    def files(self) -> list[Any]:
        """The wanted files as huggingface_hub's RepoSibling. Raises as `download` does."""
        from huggingface_hub.utils import filter_repo_objects

        files = list(
            filter_repo_objects(
                self._listing.siblings or [],
                allow_patterns=self.patterns,
                ignore_patterns=self.without,
                key=lambda file: file.rfilename,
            )
        )
        for file in files:
            _require_plain(file, str(self))
        names = Counter(file.rfilename for file in files)
        taken = {part for name in names for part in (*_folders(name), f"{name}.partial")}
        for name, count in names.items():
            if name in taken or count > 1:
                raise BadInput(f"{self}: {name}: listed twice, or as another's folder or part")
        return files

    def __str__(self) -> str:
        return f"{self.kind} {self.name}@{self.revision}"

    @cached_property
    def _listing(self) -> Any:
        """The hub's answer about the revision, as huggingface_hub's ModelInfo."""
        if root := hub_folder():
            return self._listing_of(root)
        # Set before the library is first imported, which else sends usage data.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import httpx
        from huggingface_hub import ModelInfo, constants
        from huggingface_hub.utils import (
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
            validate_repo_id,
        )

        # It says the address when it tries again, with what may stand before the host.
        for handler in logging.getLogger("huggingface_hub").handlers:
            handler.addFilter(_make_printable)
        with _one_line(str(self)):
            validate_repo_id(self.name)
            revision = quote(self.revision, safe="")
            answer = b""
            with http_stream_backoff(
                "GET",
                f"{_endpoint()}/api/{self.kind}s/{self.name}/revision/{revision}",
                params={"blobs": True},
                headers=build_hf_headers(token=_token()),
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                retry_on_exceptions=(httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError),
            ) as response:
                hf_raise_for_status(response)
                for piece in response.iter_bytes():
                    answer += piece
                    if len(answer) > LONGEST_LISTING:
                        raise BadInput(f"{self}: a listing of more than {LONGEST_LISTING:,} bytes")
            listed = json.loads(answer)
            if (token := secret()) and token in json.dumps(listed, ensure_ascii=False):
                raise BadInput(f"{self}: the hub's answer holds the token of ${TOKEN}")
            info = ModelInfo(**listed)
        if not COMMIT.fullmatch(str(info.sha)):
            raise BadInput(f"{self}: the hub answers with {_shown(info.sha)}, which is no commit")
        if self.revision not in (info.sha, "main"):
            raise BadInput(f"{self}: the hub answers with another commit, {info.sha}")
        return info

    def _listing_of(self, root: Path) -> Any:
        """Return what a folder in the hub's place holds, in the form of the hub's answer."""
        from huggingface_hub import ModelInfo
        from huggingface_hub.utils import validate_repo_id

        with _one_line(str(self)):
            validate_repo_id(self.name)
            place = root / f"{self.kind}s" / self.name
            if not place.is_dir():
                raise BadInput(f"{self}: {place}: no such folder")
            names = {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
            files = [
                {"rfilename": name.as_posix(), "size": path.stat().st_size, "sha256": sha256(path)}
                for name, path in sorted(names.items())
                if name.parts[0] not in BESIDE
            ]
        sha = hashlib.sha1(json.dumps(files).encode()).hexdigest()
        siblings = [file | {"lfs": file | {"pointerSize": None}} for file in files]
        return ModelInfo(id=self.name, sha=sha, siblings=siblings)

    def _fetch(self, file: Any, folder: Path, progress: "_Progress") -> None:
        """Download a file into a folder, unless it is there. Raises as `download` does."""
        target = folder / file.rfilename
        partial = target.with_name(f"{target.name}.partial")
        with _one_line(f"{self}: {file.rfilename}"):
            if target.is_file():
                if _digest(target, file) == _listed_digest(file):
                    progress.update(file.size)
                    return
                print(f"{target}: has another digest; downloaded again", file=sys.stderr)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._complete(partial, file, progress)
            found, listed = _digest(partial, file), _listed_digest(file)
            if found != listed:
                partial.unlink()
                raise BadInput(
                    f"{self}: {file.rfilename}: found {found}, expected {listed}; deleted, so that"
                    " the next run downloads it again"
                )
            with open(partial, "rb") as downloaded:
                echoed = (token := secret()) and token.encode() in downloaded.read(SEARCHED)
            if echoed:
                partial.unlink()
                raise BadInput(f"{self}: {file.rfilename}: holds the token of ${TOKEN}; deleted")
            partial.replace(target)

    def _complete(self, partial: Path, file: Any, progress: "_Progress") -> None:
        """Add the bytes to a file that it lacks; try again if the hub fails or the line breaks."""
        if root := hub_folder():
            shutil.copyfile(root / f"{self.kind}s" / self.name / file.rfilename, partial)
            return progress.update(file.size)
        from httpx import NetworkError
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(
            self.name,
            file.rfilename,
            repo_type=self.kind,
            revision=self.commit,
            endpoint=_endpoint(),
        )
        # A compressed stream cannot be resumed.
        headers = build_hf_headers(token=_token()) | {"Accept-Encoding": "identity"}
        waits = iter(WAITS)
        while True:
            with open(partial, "ab") as out:
                there = out.tell()
                progress.update(there)
                if there >= file.size:
                    return
                limited = _Limited(progress, out, file.size)
                try:
                    http_get(url, out, resume_size=there, headers=headers, tqdm_class=limited)
                    return
                except _TooLong:
                    partial.unlink()
                    text = f"longer than the {file.size:,} bytes that the hub lists; deleted"
                    raise BadInput(f"{self}: {file.rfilename}: {text}") from None
                except (HfHubHTTPError, NetworkError) as error:
                    response = getattr(error, "response", None)
                    wait = next(waits, None)
                    if wait is None or (response is not None and response.status_code < 500):
                        raise
                    print(f"{printable(_reason(error))}; next try in {wait} s", file=sys.stderr)
                    progress.update(-out.tell())
            progress.stopped.wait(wait)


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


class _TooLong(Exception):
    """A file has more bytes than are listed."""


class _Progress:
    """Counts the bytes of all files and prints a line now and then.

    It stands in for the progress bar that huggingface_hub makes for each file.
    """

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.there = name, total, 0
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._next = time.monotonic() + REPORT_EVERY

    def __call__(self, **_: object) -> "_Progress":
        return self

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        """Count bytes. Raises CancelledError, which ends the thread, if all are to stop."""
        if self.stopped.is_set():
            raise CancelledError
        with self._lock:
            self.there += count
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + REPORT_EVERY
                print(f"{self.name}: {self.there:,} of {self.total:,} bytes", file=sys.stderr)


class _Limited(_Progress):
    """Counts the bytes of one file for the progress of all, up to the size that is listed."""

    def __init__(self, progress: _Progress, out: BinaryIO, size: int) -> None:
        self.progress, self.out, self.size = progress, out, size

    def update(self, count: int) -> None:
        """Count bytes before they are written. Raises _TooLong, or as the progress of all does."""
        if count > 0 and self.out.tell() + count > self.size:
            raise _TooLong
        self.progress.update(count)


def _require_plain(file: Any, where: str) -> None:
    """Raise BadInput where a listed file's name, size or digest is none."""
    name = file.rfilename
    where = f"{where}: {_shown(name)}"
    if not isinstance(name, str) or not _is_plain(name):
        raise BadInput(f"{where}: not a plain name of a file below the repository's folder")
    sha = file.lfs.sha256 if file.lfs else None
    if type(file.size) is not int or not (sha or file.blob_id):
        raise BadInput(f"{where}: listed without size and digest")
    digest = SHA256.fullmatch(str(sha)) if file.lfs else COMMIT.fullmatch(str(file.blob_id))
    if file.size < 0 or not digest:
        raise BadInput(f"{where}: listed with a size or digest that is none")


def _is_plain(name: str) -> bool:
    """Return True if a name is a relative path that leads to a file below any folder."""
    return (
        name.isprintable()
        and "\\" not in name
        and all(
            part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME
            for part in name.split("/")
        )
    )


def _folders(name: str) -> list[str]:
    """Return the folders that a file lies in."""
    return [str(folder) for folder in PurePosixPath(name).parents]


def _shown(value: object) -> str:
    """Return how what the hub sent begins, in one line."""
    shown = value if isinstance(value, str) and value.isprintable() else json.dumps(str(value))
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def hub_folder() -> Path | None:
    """Return the folder that stands in for the hub; None where HF_ENDPOINT names none.

    Raises
    ------
    BadInput
        If it is no folder of repositories.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "")
    if not endpoint.startswith(FOLDER):
        return None
    folder = Path(endpoint.removeprefix(FOLDER))
    if not any((folder / kinds).is_dir() for kinds in ("datasets", "models")):
        allowed = "a folder that holds datasets/owner/name or models/owner/name"
        raise BadInput(f"HF_ENDPOINT: found {endpoint}; allowed after {FOLDER} is {allowed}")
    return folder


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def _token() -> str | bool:
    """Return the token, or False, with which the library sends none that it finds elsewhere."""
    token = os.environ.get(TOKEN, "").strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise BadInput(f"{TOKEN}: not a token: it holds a space or a character beyond ASCII")
    return token or False


def _digest(path: Path, file: Any) -> str:
    """Return a file's digest of the kind that the hub lists: for files in git, git's own."""
    from huggingface_hub.utils.sha import git_hash

    return f"sha256 {sha256(path)}" if file.lfs else f"git blob {git_hash(path.read_bytes())}"


def _listed_digest(file: Any) -> str:
    return f"sha256 {file.lfs.sha256}" if file.lfs else f"git blob {file.blob_id}"


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Turn errors of the hub into one line, without the text that the hub sent."""
    from httpx import HTTPError, InvalidURL
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except (HTTPError, InvalidURL, OfflineModeIsEnabled) as error:
        raise BadInput(f"{where}: {_reason(error)}") from None
    except HFValidationError:
        raise BadInput(f"{where}: not a repository's name, which is owner/name") from None
    except OSError as error:
        raise BadInput(f"{where}: {system_error(error)}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadInput(f"{where}: {_host()} does not answer as a hub does") from None


def _reason(error: Exception) -> str:
    from httpx import ConnectError, ConnectTimeout
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "not downloaded, because HF_HUB_OFFLINE switches the hub off"
    response = getattr(error, "response", None)
    if response is None:
        failed = isinstance(error, ConnectError | ConnectTimeout)
        what = f"no connection to {_host()}" if failed else f"the connection to {_host()} broke"
        return f"{what}: {str(error) or type(error).__name__}"
    status = str(response.status_code)
    otherwise = "the hub has failed" if status >= "500" else "refused"
    code = response.headers.get("X-Error-Code", "")
    return f"{REASONS.get(code) or REASONS.get(status, otherwise)} ({status})"


def _host() -> str:
    """Return the hub's host, without a password that may stand before it."""
    return urlsplit(_endpoint()).netloc.rpartition("@")[2] or "HF_ENDPOINT"

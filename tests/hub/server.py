"""A hub on the loopback interface that serves folders laid out as `{models,datasets}/owner/name/`.

It answers the requests that huggingface_hub and datasets make to read a repository: the listing of
a revision, its tree, and its files. Large files are redirected to another host, as on the real hub.

    with serve(folder, commits={"owner/name": "0123…"}, faults=[Fault("/api/*", 1, 500)]) as hub:
        os.environ["HF_ENDPOINT"] = hub.url
        …
        assert hub.sent() == ["config.json", …]
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

# Suffixes of the files that the hub keeps outside git.
LARGE = (".safetensors", ".parquet", ".gz", ".bin")
PIECE = 1 << 16
API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repository>[^/]+/[^/]+)"
    r"(/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(/(?P<path>.*))?)?"
)
FILE = re.compile(
    r"(?P<large>/large)?/((?P<kind>datasets)/)?(?P<repository>[^/]+/[^/]+)"
    r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)


@dataclass
class Fault:
    """What goes wrong with the first `times` requests to a path, or with all.

    Either the hub answers with `status` and the error code `code`, or it closes the connection
    after `cut` bytes of a file, or it sends `body` instead of the right bytes, or `raw` instead of
    an answer.
    """

    path: str  # an fnmatch pattern, such as "/api/*" or "*/config.json"
    times: int | None = None
    status: int | None = None
    code: str = ""
    cut: int | None = None
    body: bytes | None = None
    raw: bytes | None = None

    @property
    def sends(self) -> bool:
        """True if it only changes what is sent."""
        return self.status is None and self.raw is None


@dataclass(frozen=True)
class Request:
    """A request that was received."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    status: int

    @property
    def sent_bytes(self) -> bool:
        return self.method == "GET" and self.status in (200, 206)


@dataclass
class Hub:
    """What is served, and what was requested."""

    roots: Sequence[Path]
    commits: Mapping[str, str | Sequence[str]]
    faults: list[Fault]
    token: str | None = None
    url: str = ""
    large_url: str = ""
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    digests: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def folder(self, kind: str, repository: str) -> Path | None:
        """Return the folder of a repository, in the first root that has it."""
        folders = (root / kind / repository for root in self.roots)
        return next((folder for folder in folders if folder.is_dir()), None)

    def files(self, folder: Path) -> dict[str, Path]:
        """Return the files of a repository by name."""
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        return dict(sorted(paths.items()))

    def entry(self, path: Path) -> dict[str, Any]:
        """Return the size and digests with which a file is listed."""
        with self.lock:
            if path not in self.digests:
                size = path.stat().st_size
                entry = {"size": size, "blobId": _git_blob(path)}
                if path.name.endswith(LARGE):
                    with open(path, "rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
                self.digests[path] = entry
            return self.digests[path]

    def known_commits(self, repository: str, folder: Path) -> list[str]:
        """Return the commits of a repository; the first is that of `main`."""
        commits = self.commits.get(repository)
        if commits is None:
            named = [(n, self.entry(path)["blobId"]) for n, path in self.files(folder).items()]
            return [hashlib.sha1(json.dumps(named).encode()).hexdigest()]
        return [commits] if isinstance(commits, str) else list(commits)

    def fault(self, path: str, sending: bool) -> Fault | None:
        """Return the fault of a request, if any, and count it."""
        with self.lock:
            for fault in self.faults:
                fits = fnmatchcase(path, fault.path) and fault.sends == sending
                if fits and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def sent(self) -> list[str]:
        """Return the sorted names of the files of which bytes were sent."""
        names = (FILE.fullmatch(r.path) for r in self.requests if r.sent_bytes)
        return sorted(name["path"] for name in names if name)


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


class Missing(Exception):
    """What was requested does not exist; the argument is the hub's error code."""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        parts = urlsplit(self.path)
        self.name = unquote(parts.path)
        self.query = parse_qs(parts.query)
        length = int(self.headers.get("Content-Length") or 0)
        self.form = parse_qs(self.rfile.read(length).decode())
        authorized = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        fault = self.hub.fault(self.name, sending=False)
        if fault and fault.raw is not None:
            self.close_connection = True
            self.wfile.write(fault.raw)
            return None
        if fault:
            return self.refuse(fault.status, fault.code)
        file, api = FILE.fullmatch(self.name), API.fullmatch(self.name)
        if self.hub.token and not authorized and not (file and file["large"]):
            return self.refuse(401, "RepoNotFound")
        try:
            if file:
                return self.file(**file.groupdict())
            if api:
                return self.api(**api.groupdict())
            raise Missing("RepoNotFound")
        except Missing as missing:
            return self.refuse(404, str(missing))

    def api(self, kind: str, repository: str, what: str, revision: str, path: str) -> None:
        folder = self.folder(kind, repository)
        commit = self.commit(repository, folder, revision or "main")
        files = self.hub.files(folder)
        if what == "tree":
            return self.json(_tree(self.hub, files, path or "", "recursive" in self.query))
        if what == "paths-info":
            asked = self.form.get("paths", [])
            return self.json([e for e in _tree(self.hub, files, "", True) if e["path"] in asked])
        siblings = [
            {"rfilename": name} | (self.hub.entry(path) if "blobs" in self.query else {})
            for name, path in files.items()
        ]
        listed = {"_id": commit[:24], "id": repository, "sha": commit, "siblings": siblings}
        return self.json(listed | {"private": False, "disabled": False, "gated": False, "tags": []})

    def folder(self, kind: str, repository: str) -> Path:
        folder = self.hub.folder(kind, repository)
        if folder is None:
            raise Missing("RepoNotFound")
        return folder

    def commit(self, repository: str, folder: Path, revision: str) -> str:
        commits = self.hub.known_commits(repository, folder)
        if revision == "main":
            return commits[0]
        if revision not in commits:
            raise Missing("RevisionNotFound")
        return revision

    def file(self, large: str, kind: str, repository: str, revision: str, path: str) -> None:
        folder = self.folder(kind or "models", repository)
        commit = self.commit(repository, folder, revision)
        file = self.hub.files(folder).get(path)
        if file is None:
            raise Missing("EntryNotFound")
        entry = self.hub.entry(file)
        etag = entry["lfs"]["sha256"] if "lfs" in entry else entry["blobId"]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry and not large:
            headers |= {"X-Linked-Size": str(entry["size"]), "X-Linked-Etag": f'"{etag}"'}
            place = f"/large{quote(self.name)}"
            return self.send(302, headers | {"Location": self.hub.large_url + place}, b"")
        return self.send_file(file, entry["size"], headers)

    def send_file(self, path: Path, size: int, headers: dict[str, str]) -> None:
        """Send a file, or the range of it that was requested."""
        begin, status = 0, 200
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, status = int(first), 206
            if begin >= size:
                return self.send(416, headers | {"Content-Range": f"bytes */{size}"}, b"")
            end = min(int(last), size - 1) if last else size - 1
            headers |= {"Content-Range": f"bytes {begin}-{end}/{size}"}
            size = end + 1
        length = size - begin
        fault = self.hub.fault(self.name, sending=True) if self.command == "GET" else None
        if fault and fault.body is not None:
            return self.send(status, headers, fault.body)
        self.head(status, headers | {"Content-Length": str(length)})
        if self.command == "HEAD":
            return None
        stop = length if fault is None else min(fault.cut, length)
        with open(path, "rb") as file:
            file.seek(begin)
            while stop and (piece := file.read(min(PIECE, stop))):
                self.wfile.write(piece)
                stop -= len(piece)
        if fault:
            self.close_connection = True
        return None

    def json(self, value: Any) -> None:
        fault = self.hub.fault(self.name, sending=True)
        body = fault.body if fault and fault.body else json.dumps(value).encode()
        self.send(200, {"Content-Type": "application/json"}, body)

    def refuse(self, status: int, code: str) -> None:
        """Send an error that repeats the token, which a careless client would print."""
        headers = {"X-Error-Code": code} if code else {}
        headers |= {"X-Error-Message": f"refused {self.headers.get('Authorization')}"}
        self.send(status, headers | {"Retry-After": "0"}, b"")

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.head(status, headers | {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        seen = [self.headers.get(name) for name in ("Range", "Authorization")]
        self.hub.requests.append(Request(self.command, self.name, *seen, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *words: Any) -> None:
        """Print nothing: `requests` has it."""


def _tree(hub: Hub, files: Mapping[str, Path], below: str, recursive: bool) -> list[dict[str, Any]]:
    """Return the entries below a folder of a repository, folders among them."""
    entries: dict[str, dict[str, Any]] = {}
    for name, path in files.items():
        inside = name.removeprefix(f"{below}/") if below else name
        if below and inside == name:
            continue
        *folders, _ = inside.split("/")
        for depth in range(1, len(folders) + 1):
            place = "/".join(([below] if below else []) + folders[:depth])
            if depth == 1 or recursive:
                oid = hashlib.sha1(place.encode()).hexdigest()
                entries[place] = {"type": "directory", "oid": oid, "size": 0, "path": place}
        if recursive or not folders:
            entry = hub.entry(path)
            lfs = {"lfs": {**entry["lfs"], "oid": entry["lfs"]["sha256"]}} if "lfs" in entry else {}
            listed = {"type": "file", "oid": entry["blobId"], "size": entry["size"], "path": name}
            entries[name] = listed | lfs
    if below and not entries:
        raise Missing("EntryNotFound")
    return list(entries.values())


class Server(ThreadingHTTPServer):
    """Answers each connection in its own thread."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(
    *roots: Path,
    commits: Mapping[str, str | Sequence[str]] | None = None,
    faults: Sequence[Fault] = (),
    token: str | None = None,
    port: int = 0,
) -> Iterator[Hub]:
    """Yield a hub that serves some folders; each repository is taken from the first that has it.

    Parameters
    ----------
    commits
        The commit of each repository, or several, of which `main` is the first. Default: a digest
        of the repository's content.
    faults
        What goes wrong; more may be appended to `hub.faults`.
    token
        If given, requests without it are refused.
    port
        0 takes a free one.
    """
    hub = Hub(roots, commits or {}, list(faults), token)
    server = Server(("127.0.0.1", port), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.large_url = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Digests of source files, which rules have among their params.

Snakemake compares times only: a file that is replaced by an older one (`cp -p`, `rsync -t`, an
unpacked archive) would change no result. Reading all sources takes minutes where a model lies in a
folder, so a digest is kept in Snakemake's folder, by the file's size, times and inode.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from scripts.common.files import sha256, write_text

CACHE = Path(".snakemake", "sources.json")
"""The cache, used if its folder exists."""
SETTLED = 2.0
"""Seconds after which a file's times tell one content from the next."""


def sources_digest(files: Iterable[str]) -> str:
    """Return one digest of the content of files; a missing one counts as such."""
    found = hashlib.sha256("\n".join(map(_digest, files)).encode()).hexdigest()[:16]
    _write_cache()
    return found


def forget() -> None:
    """Empty the caches in memory, so that files are read again."""
    _digest.cache_clear()
    _known.cache_clear()


@cache
def _digest(file: str) -> str:
    path = Path(file).absolute()
    if not path.is_file():
        return "missing"
    stat = path.stat()
    identity = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    kept, digest = _known().get(str(path), (None, ""))
    if kept == identity:
        return digest
    digest = sha256(path)
    if time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED:
        _known()[str(path)] = (identity, digest)
        _NEW.add(str(path))
    return digest


_NEW: set[str] = set()
"""What this process read and has not written to the cache yet."""


@cache
def _known() -> dict[str, tuple[list[int], str]]:
    try:
        return {name: tuple(it) for name, it in json.loads(CACHE.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write_cache() -> None:
    if _NEW and CACHE.parent.is_dir():
        try:
            write_text(CACHE, json.dumps(_known()))
        except OSError:
            # A read-only folder: the next plan reads the files again.
            return
        _NEW.clear()

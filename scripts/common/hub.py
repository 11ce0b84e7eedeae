"""The hub: a repository's files at a commit."""

from pathlib import Path

from scripts.common.cli import BadInput


def download(
    repository: str,
    revision: str,
    kind: str,
    folder: Path | None = None,
    patterns: list[str] | None = None,
) -> tuple[Path, str]:
    """Downloads a repository and returns its folder and its commit.

    An interrupted download goes on where it stopped. A token comes from the environment alone.

    Parameters
    ----------
    kind
        ``model`` or ``dataset``.
    folder
        Where the files go; else into the hub's own cache.
    patterns
        Which files are taken; else all.

    Raises
    ------
    BadInput
        When the hub cannot be reached, or has no such repository or revision.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        commit = HfApi().repo_info(repository, revision=revision, repo_type=kind).sha
        path = snapshot_download(
            repository, revision=commit, repo_type=kind, local_dir=folder, allow_patterns=patterns
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HTTPError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(f"{kind} {repository}@{revision}: {reason}") from None
    return Path(path), commit

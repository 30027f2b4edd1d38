"""Which files of a repository are wanted, and where they lie in the Hub cache. Nothing is fetched.

    HF_HUB_CACHE/models--owner--name/
        refs/main                   the commit that "main" was when it was last asked for
        blobs/HASH                  the files, by what they hold
        blobs/HASH.incomplete       what has arrived of one
        snapshots/COMMIT/NAME       links to the blobs; the files themselves where links can't be

Source: the layout is documented, https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

# Only what loading reads: never a pickle, never code.
WANTED: Final = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
# Patterns match in folders, too: those hold other formats. Mistral's repositories have all weights
# twice.
UNWANTED: Final = ["*/*", "consolidated*"]

# What a file's entity tag is: of a large one SHA-256, of another git's SHA-1.
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository.

    Attributes:
        name: in the repository.
        size_bytes: of its content.
        hash: SHA-256 (64 digits) or git's SHA-1 (40) of its content; "" where the Hub says neither.
    """

    name: str
    size_bytes: int
    hash: str


def wanted(files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """Those that loading reads, the smallest first."""
    chosen = [file for file in files if _fits(file.name, WANTED) and not _fits(file.name, UNWANTED)]
    return tuple(sorted(chosen, key=lambda file: (file.size_bytes, file.name)))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_hash(text: object) -> bool:
    """Whether this is the hash of a file, and so can't lead out of the cache."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def is_commit(text: object) -> bool:
    """Whether this is the hash of a commit."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def cache_folder() -> Path:
    """The Hub client's cache; it need not be there yet."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser().absolute()


def repository_folder(model_id: str) -> Path:
    """Where the cache keeps a model; it need not be there."""
    return cache_folder() / f"models--{model_id.replace('/', '--')}"


def blob(model_id: str, file: HubFile) -> Path:
    """Where the cache keeps a file that has a hash; it need not be there."""
    return repository_folder(model_id) / "blobs" / file.hash


def partial(model_id: str, file: HubFile) -> Path:
    """Where what has arrived of a file is kept.

    The Hub client itself keeps nothing of a file that did not arrive whole (huggingface_hub 2.4,
    `_download_to_tmp_and_move`); older ones did, under this name.
    """
    whole = blob(model_id, file)
    return whole.with_name(f"{whole.name}.incomplete")


def in_snapshot(model_id: str, commit: str, file: HubFile) -> Path:
    """Where a program finds a file of a revision; it need not be there."""
    return repository_folder(model_id) / "snapshots" / commit / file.name


def here_bytes(model_id: str, commit: str, file: HubFile) -> int:
    """Bytes of a file that need not be fetched any more."""
    places = [in_snapshot(model_id, commit, file)]
    if file.hash:
        places += [blob(model_id, file), partial(model_id, file)]
    return max(min(size_of(place), file.size_bytes) for place in places)


def size_of(path: Path) -> int:
    """A file's size in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0

"""The models that are in the Hub cache and can be loaded at once. The network is never asked.

A cache is other programs' too: what is broken, half there, or no model at all is passed over.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_ui.errors import ModelError
from chat_ui.models import checkpoint, hub_files
from chat_ui.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model of the Hub whose files are here.

    Attributes:
        id: its Hub id.
        folder: of its files.
        config: config.json, parsed.
        parameters: numbers of all its tensors.
        disk_bytes: what the cache keeps of it, other revisions included.
        used_s: when its tokenizer was last read, in seconds since 1970, to about a day; a disk that
            keeps no such times says when it was written.
    """

    id: str
    folder: Path
    config: dict[str, Any]
    parameters: int
    disk_bytes: int
    used_s: float


def cached() -> list[CachedModel]:
    """What can be loaded from the cache; the one that was used last comes first."""
    found = []
    for folder in _repositories():
        model_id = folder.name.removeprefix("models--").replace("--", "/", 1)
        complete = find(model_id) if checkpoint.is_hub_id(model_id) else None
        if complete is not None:
            found.append(_described(model_id, folder, complete))
    return sorted(found, key=lambda model: model.used_s, reverse=True)


def find(model_id: str) -> Checkpoint | None:
    """A model of the cache, whole: the newest revision that is known here; None where it isn't."""
    folder = snapshot(model_id)
    if folder is None or not _has_all(model_id, folder):
        return None
    try:
        return checkpoint.read(folder)
    except ModelError:
        return None


def snapshot(model_id: str) -> Path | None:
    """The folder of the newest revision that is known here, whole or not; None for none."""
    repository = hub_files.repository_folder(model_id)
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    folder = repository / "snapshots" / commit
    return folder if hub_files.is_commit(commit) and checkpoint.is_folder(folder) else None


def _has_all(model_id: str, folder: Path) -> bool:
    """Whether every wanted file of the revision is here; True where nobody knows which there are.

    The list is one that the Hub client keeps of what it has downloaded.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

    try:
        tree = get_cached_repo_tree(
            model_id, revision=folder.name, cache_dir=hub_files.cache_folder()
        )
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return True
    known = [hub_files.HubFile(file.path, file.size, "") for file in tree]
    return all(
        hub_files.size_of(folder / file.name) == file.size_bytes for file in hub_files.wanted(known)
    )


def _repositories() -> list[Path]:
    try:
        return sorted(hub_files.cache_folder().glob("models--*"))
    except OSError:
        return []


def _described(model_id: str, repository: Path, found: Checkpoint) -> CachedModel:
    # Looking for models reads configs and weights' headers, so their times say nothing.
    used = [
        state.st_atime
        for path, state in _files(found.folder)
        if path.name != "config.json" and ".safetensors" not in path.name
    ]
    return CachedModel(
        id=model_id,
        folder=found.folder,
        config=found.config,
        parameters=found.parameters,
        disk_bytes=sum(
            state.st_size for path, state in _files(repository) if not path.is_symlink()
        ),
        used_s=max(used, default=0.0),
    )


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files below a folder, those that links lead to included."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            with suppress(OSError):
                yield path, path.stat()

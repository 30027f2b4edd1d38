"""What the Hub says of models, before anything is loaded: which there are, whether one may be had.

    search ---> check_access ---> download        (fetch_config: for a forecast before that)

A token comes from the environment, from `hf auth login`, or is given for one call; none is kept.
Bringing a model here is `download`, what is here already is `cached`.
"""

import difflib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from chat_ui.errors import BadCheckpointError, ChatUIError, ModelError, ModelNotFoundError
from chat_ui.models import cached, checkpoint, hub_files, hub_request
from chat_ui.models.download import download
from chat_ui.models.hub_files import HubFile

__all__ = ["HubModel", "ModelInfo", "check_access", "download", "fetch_config", "search"]

# Real ones have up to 300 kB, with the names of modules that were not quantized.
_MOST_CONFIG_BYTES: Final = 4_000_000
_MOST_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that may be downloaded.

    Attributes:
        id: its Hub id.
        commit: the newest revision.
        files: those that loading reads, the smallest first.
        missing_bytes: those of them that are not here yet.
        parameters: numbers of all its tensors; None where the Hub doesn't say.
        is_gated: its owner gives access on conditions, which this account has met.
        downloads: in the last 30 days.
        likes: of people on the Hub.
        licence: its name, such as "apache-2.0"; "" where the Hub doesn't say.
    """

    id: str
    commit: str
    files: tuple[HubFile, ...]
    missing_bytes: int
    parameters: int | None
    is_gated: bool
    downloads: int
    likes: int
    licence: str

    @property
    def download_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model that a search found; the attributes are those of `ModelInfo`."""

    id: str
    parameters: int | None
    is_gated: bool
    downloads: int
    likes: int


def check_access(model_id: str, token: str | None = None, known: Iterable[str] = ()) -> ModelInfo:
    """Whether a model may be downloaded and there is room for it; nothing is downloaded.

    Args:
        model_id: "owner/name".
        token: for this call; None for the one that the Hub client finds, if any.
        known: ids that may have been meant where there is no such model, beside those of the cache
            and of the Hub.

    Raises:
        ModelNotFoundError: there is no such model, or this account may not see it.
        AccessError: the token, the account or its rights don't do.
        BadCheckpointError: it has no weights that are read here.
        HubError: the Hub can't be asked.
        ModelError: the disk is too small.
    """
    if not checkpoint.is_hub_id(model_id):
        raise checkpoint.not_found(model_id)
    path = f"/api/models/{model_id}"
    try:
        answer = hub_request.fetch_json(path, model_id, token, {"blobs": "true"})
    except ModelNotFoundError as error:
        raise _with_nearest(error, model_id, known, token) from error
    info = _info(model_id, answer)
    if info.is_gated:  # what was just asked is told to everybody
        hub_request.fetch(f"{path}/auth-check", model_id, token)
    _refuse_unusable(info)
    _refuse_too_large(info)
    return info


def fetch_config(model_id: str, token: str | None = None) -> dict[str, Any]:
    """A model's config.json: that of the cache, else from the Hub, of which nothing is kept.

    Raises:
        ModelError: one of its kinds, as in `check_access`.
    """
    if not checkpoint.is_hub_id(model_id):
        raise checkpoint.not_found(model_id)
    here = cached.snapshot(model_id)
    if here is not None:
        with suppress(OSError, BadCheckpointError):
            return _parsed(model_id, (here / "config.json").read_bytes())
    path = f"/{model_id}/resolve/main/config.json"
    return _parsed(
        model_id, hub_request.fetch(path, model_id, token, most_bytes=_MOST_CONFIG_BYTES)
    )


def search(text: str, limit: int = 10, token: str | None = None) -> list[HubModel]:
    """Models that write text and have safetensors, by a part of their id; the most used first.

    Raises:
        HubError: the Hub can't be asked.
        AccessError: the Hub doesn't know the token.
    """
    words = text.strip()[:_MOST_TEXT]
    if not words:
        return []
    wanted = {"pipeline_tag": "text-generation", "filter": "safetensors"}
    return _listed({"search": words, "limit": limit, **wanted}, token)


def _listed(params: Mapping[str, Any], token: str | None) -> list[HubModel]:
    asked = {"sort": "downloads", "expand": ["downloads", "likes", "gated", "safetensors"]}
    answer = hub_request.fetch_json("/api/models", token=token, params={**params, **asked})
    if not isinstance(answer, list):
        raise hub_request.not_understood()
    rows = [row for row in answer if isinstance(row, dict) and isinstance(row.get("id"), str)]
    return [
        HubModel(
            id=row["id"],
            parameters=_parameters(row),
            is_gated=bool(row.get("gated")),
            downloads=_count(row.get("downloads")),
            likes=_count(row.get("likes")),
        )
        for row in rows
        if checkpoint.is_hub_id(row["id"])
    ]


def _info(model_id: str, answer: Any) -> ModelInfo:
    if not isinstance(answer, dict) or not hub_files.is_commit(answer.get("sha")):
        raise hub_request.not_understood()
    commit = answer["sha"]
    files = hub_files.wanted(_files(answer.get("siblings")))
    here = sum(hub_files.here_bytes(model_id, commit, file) for file in files)
    return ModelInfo(
        id=model_id,
        commit=commit,
        files=files,
        missing_bytes=sum(file.size_bytes for file in files) - here,
        parameters=_parameters(answer),
        is_gated=bool(answer.get("gated")),
        downloads=_count(answer.get("downloads")),
        likes=_count(answer.get("likes")),
        licence=_licence(answer.get("tags")),
    )


def _files(siblings: Any) -> Iterator[HubFile]:
    """The files of a repository as the Hub lists them."""
    for entry in siblings if isinstance(siblings, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("rfilename"), str):
            large = entry.get("lfs")
            found = large.get("sha256") if isinstance(large, dict) else entry.get("blobId")
            yield HubFile(
                name=entry["rfilename"],
                size_bytes=_count(entry.get("size")),
                hash=found if isinstance(found, str) and hub_files.is_hash(found) else "",
            )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _parameters(answer: Mapping[str, Any]) -> int | None:
    counted = answer.get("safetensors")
    return (_count(counted.get("total")) or None) if isinstance(counted, dict) else None


def _licence(tags: Any) -> str:
    texts = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    named = [tag.removeprefix("license:") for tag in texts if tag.startswith("license:")]
    return named[0][:_MOST_TEXT] if named else ""


def _parsed(model_id: str, config: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise BadCheckpointError(
            f"The config.json of {model_id} is broken.", "Choose another model."
        )
    return parsed


def _refuse_unusable(info: ModelInfo) -> None:
    names = {file.name for file in info.files}
    if not any(name.endswith(".safetensors") for name in names):
        raise BadCheckpointError(
            f"{info.id} has no safetensors files.",
            "This app reads weights from safetensors only; choose another model.",
        )
    if "config.json" not in names:
        raise BadCheckpointError(
            f"{info.id} has no config.json: it is no transformers model.", "Choose another model."
        )


def _refuse_too_large(info: ModelInfo) -> None:
    folder = hub_files.cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if info.missing_bytes > free:
        raise ModelError(
            f"{info.id} needs {_size(info.missing_bytes)} on the disk, which has {_size(free)} "
            f"free: {_size(info.missing_bytes - free)} are missing.",
            "Free some space, or point HF_HOME to a larger disk.",
        )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


def _with_nearest(
    error: ModelNotFoundError, model_id: str, known: Iterable[str], token: str | None
) -> ModelNotFoundError:
    """The same error with the names that may have been meant."""
    names = {*known, *(model.id for model in cached.cached())}
    owner, name = model_id.split("/")
    for part in ({"search": name}, {"author": owner}):
        with suppress(ChatUIError):
            names |= {model.id for model in _listed({**part, "limit": 50}, token)}
    names.discard(model_id)
    by_lower = {known_id.lower(): known_id for known_id in names}
    # An owner's name alone makes two ids alike.
    close = [
        one
        for one in difflib.get_close_matches(model_id.lower(), by_lower, n=3, cutoff=0.6)
        if difflib.SequenceMatcher(None, name.lower(), one.partition("/")[2]).ratio() > 0.6
    ]
    if not close:
        return error
    meant = " or ".join(by_lower[one] for one in close)
    return ModelNotFoundError(error.sentence, f"Did you mean {meant}? {error.next_step}")

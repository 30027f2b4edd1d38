"""Chooses the model that drafts tokens for another one, by tokenizer, family and size.

It reads files and loads nothing; what a draft is good for is `engine/assist.py`.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from chat_ui.errors import ChatUIError
from chat_ui.models import cached, checkpoint, hub
from chat_ui.models.progress import Progress, ignore
from chat_ui.models.spec import ModelSpec, find

log = logging.getLogger(__name__)

AUTO: Final = "auto"
# A draft's token has to cost a fraction of the model's own.
_LARGEST_SHARE: Final = 0.25
# Folders that are looked at beside the model's: somebody may keep models among thousands of others.
_MOST_NEIGHBOURS: Final = 100


def choose(
    named: str,
    model: ModelSpec,
    known: Iterable[ModelSpec],
    progress: Progress = ignore,
    *,
    asks_hub: bool = True,
) -> ModelSpec | None:
    """The model that drafts for another one; None where nothing fits.

    Args:
        named: "" for none, "auto" for the smallest that fits on this machine, or a model as the
            command line takes it.
        model: the model that is to be assisted, with its folder.
        known: where "auto" looks, beside the folders next to the model's.
        progress: told while it is downloaded, where it has to be.
        asks_hub: False for none where it would have to be.

    Raises:
        ModelError: the named model can't be had.
    """
    if not named or model.folder is None:
        return None
    if named == AUTO:
        return _smallest(model, [*known, *_neighbours(model.folder)])
    draft = find(named)
    if draft.folder is None:
        here = cached.find(draft.id)
        if here is not None:
            draft = replace(draft, folder=here.folder)
        elif asks_hub:
            draft = replace(draft, folder=hub.download(draft.id, progress))
    if draft.folder is None or draft.folder == model.folder:
        return None
    if not _same_tokenizer(draft.folder, model.folder):
        log.warning("%s can't draft for %s: their tokenizers differ.", draft.id, model.id)
        return None
    return draft


def _smallest(model: ModelSpec, candidates: Iterable[ModelSpec]) -> ModelSpec | None:
    fitting: list[tuple[int, ModelSpec]] = []
    for candidate in candidates:
        try:
            parameters = _parameters_of_draft(candidate.folder, model.folder)
        except ChatUIError:
            continue
        if parameters:
            fitting.append((parameters, candidate))
    return min(fitting, key=lambda one: one[0], default=(0, None))[1]


def _parameters_of_draft(draft: Path | None, model: Path | None) -> int | None:
    """How many parameters a draft of the same family has; None where it does not fit."""
    if draft is None or model is None or draft == model:
        return None
    small, large = checkpoint.read(draft), checkpoint.read(model)
    is_fitting = (
        small.model_type == large.model_type
        and small.parameters <= _LARGEST_SHARE * large.parameters
        and _same_tokenizer(draft, model)
    )
    return small.parameters if is_fitting else None


def _neighbours(folder: Path) -> Iterator[ModelSpec]:
    """The models in the folders beside this one."""
    try:
        beside = sorted(folder.parent.glob("*/config.json"))[:_MOST_NEIGHBOURS]
    except OSError:
        return
    for config in beside:
        try:
            yield find(str(config.parent))
        except ChatUIError:
            continue


def _same_tokenizer(one: Path, other: Path) -> bool:
    """Whether the same ids mean the same tokens in both."""
    for name in ("tokenizer.json", "tokenizer.model"):
        if (one / name).is_file() and (other / name).is_file():
            try:
                return bool(_tokens(one / name) == _tokens(other / name))
            except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return False
    return False


def _tokens(file: Path) -> Any:
    """What a tokenizer's file says of its tokens and their ids."""
    if file.suffix != ".json":
        return file.read_bytes()
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    added = {(token["id"], token["content"]) for token in tokenizer.get("added_tokens") or ()}
    return tokenizer["model"]["vocab"], added

"""The chat models that the app suggests, and the leaderboards that help to choose others.

It reads assets/catalogue.toml, once. It asks no Hub whether a model is still there, and does not
say what fits a machine: that is `models/forecast.py`, from the configs that the file holds.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from chat_ui.errors import StartupError
from chat_ui.models import checkpoint
from chat_ui.models.spec import ASSETS

CATALOGUE_FILE: Final = ASSETS / "catalogue.toml"

TOPICS: Final = ("general", "code", "maths", "medical", "legal", "multilingual")
MACHINES: Final = ("small", "laptop", "workstation", "server")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that the app suggests.

    Attributes:
        id: on the Hub, "owner/name".
        label: as the picker shows it.
        parameters: of the whole model, tied ones once.
        active_parameters: those that one token needs; all but in a mixture of experts.
        licence: as the Hub names it.
        is_gated: its terms must be accepted on the Hub before it can be downloaded. It was so when
            the catalogue was written; the Hub has the last word.
        tags: of `TOPICS` and `MACHINES`, one of each at least.
        purpose: one sentence: what it is good for, and what to know before.
        config: the part of its config.json that a forecast needs; not to be changed.
    """

    id: str
    label: str
    parameters: int
    active_parameters: int
    licence: str
    is_gated: bool
    tags: tuple[str, ...]
    purpose: str
    config: Mapping[str, Any] = field(hash=False, repr=False)

    @property
    def is_mixture(self) -> bool:
        """A mixture of experts, of which a token needs a part."""
        return self.active_parameters < self.parameters

    @property
    def context_tokens(self) -> int:
        """Its context window."""
        text: Mapping[str, Any] = self.config.get("text_config", self.config)
        return int(text["max_position_embeddings"])


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A page that ranks models.

    Attributes:
        label: its name.
        url: where it is.
        purpose: one sentence: what it measures.
    """

    label: str
    url: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the file says; models from small to large."""

    models: tuple[CatalogueModel, ...]
    leaderboards: tuple[Leaderboard, ...]


def catalogue() -> tuple[CatalogueModel, ...]:
    """The models that the app suggests, from small to large.

    Raises:
        StartupError: the file is missing or an entry is no good.
    """
    return _read(CATALOGUE_FILE).models


def leaderboards() -> tuple[Leaderboard, ...]:
    """The pages that rank models.

    Raises:
        StartupError: as `catalogue`.
    """
    return _read(CATALOGUE_FILE).leaderboards


def parse(text: str) -> Catalogue:
    """Read a catalogue.

    Raises:
        StartupError: it is no TOML, or an entry lacks something or has what it may not.
    """
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOMLDecodeError
        raise _broken(f"it is no TOML: {error}") from error
    models = [_model(entry) for entry in _entries(tables, "model")]
    ids = [model.id for model in models]
    for id in ids:
        if ids.count(id) > 1:
            raise _broken(f"{id} is there twice")
    return Catalogue(
        models=tuple(sorted(models, key=lambda model: model.parameters)),
        leaderboards=tuple(_leaderboard(entry) for entry in _entries(tables, "leaderboard")),
    )


@cache
def _read(file: Path) -> Catalogue:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(f"it can't be read: {error}") from error
    return parse(text)


def _model(entry: dict[str, Any]) -> CatalogueModel:
    id = _take(entry, "id", str)
    parameters = _take(entry, "parameters", int)
    active = _take(entry, "active_parameters", int) if "active_parameters" in entry else parameters
    tags = _take(entry, "tags", list)
    config = _take(entry, "config", dict)
    model = CatalogueModel(
        id=id,
        label=_take(entry, "label", str),
        parameters=parameters,
        active_parameters=active,
        licence=_take(entry, "licence", str),
        is_gated=_take(entry, "gated", bool),
        tags=tuple(tags),
        purpose=_take(entry, "for", str),
        config=config,
    )
    if not checkpoint.is_hub_id(id):
        raise _broken(f"{id!r} is no Hub id")
    if not 0 < active <= parameters:
        raise _broken(f"{id} needs more parameters for a token than it has, or none")
    if unknown := [tag for tag in tags if tag not in TOPICS + MACHINES]:
        raise _broken(f"{id} has the tag {unknown[0]!r}, which is none of the known ones")
    if not set(tags) & set(TOPICS) or not set(tags) & set(MACHINES):
        raise _broken(f"{id} needs a tag for a topic and one for a machine")
    if not isinstance(config.get("model_type"), str):
        raise _broken(f"the config of {id} has no model_type")
    if not _window_is_known(config):
        raise _broken(f"the config of {id} has no max_position_embeddings")
    return model


def _window_is_known(config: dict[str, Any]) -> bool:
    text = config.get("text_config", config)
    window = text.get("max_position_embeddings") if isinstance(text, dict) else None
    return type(window) is int and window > 0


def _leaderboard(entry: dict[str, Any]) -> Leaderboard:
    url = _take(entry, "url", str)
    if not url.startswith("https://"):
        raise _broken(f"{url!r} is no https address")
    return Leaderboard(_take(entry, "label", str), url, _take(entry, "for", str))


def _entries(tables: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = tables.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _broken(f"{name} is no list of tables, [[{name}]]")
    return entries


def _take(entry: dict[str, Any], name: str, kind: type[_T]) -> _T:
    """A field of an entry, which is there, of that type and not empty."""
    where = entry.get("id") or entry.get("label") or "an entry"
    value = entry.get(name)
    # A bool is an int to isinstance.
    if type(value) is not kind:
        raise _broken(f"{where} has no {name}, or not as {kind.__name__}")
    if value in ("", [], {}):
        raise _broken(f"the {name} of {where} is empty")
    return value


def _broken(why: str) -> StartupError:
    return StartupError(
        f"The model catalogue is broken: {why}.",
        "Repair assets/catalogue.toml, or install the app again.",
    )

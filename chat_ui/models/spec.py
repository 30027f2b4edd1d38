"""Which models there are: the built-in one, local folders, and ids of the Hub."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from chat_ui.models import checkpoint

ASSETS: Final = Path(__file__).resolve().parents[2] / "assets"
BUILT_IN_ID: Final = "pocket-guide"
_HUB: Final = "huggingface.co/"
BUILT_IN_FOLDER: Final = ASSETS / "pocket-guide"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that can be loaded.

    Attributes:
        id: what the command line and the picker take: "pocket-guide", a folder's path (its name,
            where strangers are told of it: see `FoldersByName`), or "owner/name".
        label: as the page shows it, with the parameter count where the files are here.
        kind: where the files are.
        folder: the folder of its files; None for a Hub id, whose folder is known when it is loaded.
    """

    id: str
    label: str
    kind: Literal["built-in", "folder", "hub"]
    folder: Path | None = None


def find(model: str) -> ModelSpec:
    """The model that a person named.

    Args:
        model: "pocket-guide", a path (absolute, relative, with ~), or a Hub id such as
            "owner/name", also as the address of its page. A folder goes before a Hub id of the same
            name, as in transformers.

    Raises:
        ModelNotFoundError: it names none.
        BadCheckpointError: the folder is there and its files are no good.
    """
    model = _without_address(model.strip())
    if model in ("", BUILT_IN_ID):
        count = checkpoint.read(BUILT_IN_FOLDER).parameters
        label = f"Pocket Guide (built in, {count_label(count)})"
        return ModelSpec(BUILT_IN_ID, label, "built-in", BUILT_IN_FOLDER)
    folder = _path(model)
    if folder is not None and checkpoint.is_folder(folder):
        folder = folder.resolve()
        label = f"{folder.name} ({count_label(checkpoint.read(folder).parameters)})"
        return ModelSpec(str(folder), label, "folder", folder)
    if checkpoint.is_hub_id(model):
        return ModelSpec(model, model, "hub")
    raise checkpoint.not_found(model)


class FoldersByName:
    """`find` for where strangers come: every page is told models' ids, and a path tells how the
    machine is laid out. So a folder's id is its name, with a number where two have the same.
    """

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def __call__(self, model: str) -> ModelSpec:
        """As `find`; also takes an id that it gave before."""
        known = self._folders.get(model.strip())
        spec = find(model if known is None else str(known))
        folder = spec.folder
        if spec.kind != "folder" or folder is None:
            return spec
        name = folder.name or "folder"
        id_, number = name, 1
        while id_ == BUILT_IN_ID or self._folders.get(id_, folder) != folder:
            number += 1
            id_ = f"{name} ({number})"
        self._folders[id_] = folder
        return replace(spec, id=id_)


def count_label(parameters: int) -> str:
    """A parameter count as people write it: 4.7M, 135M, 1.2B, 70B."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if parameters >= size * 0.9995:
            value = parameters / size
            return f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    return str(parameters)


def _without_address(model: str) -> str:
    """The Hub id in the address of a model's page; anything else as it is."""
    page = model.removeprefix("https://").removeprefix("http://")
    if not page.startswith(_HUB):
        return model
    return "/".join(page.removeprefix(_HUB).split("?")[0].split("/")[:2])


def _path(model: str) -> Path | None:
    try:
        return Path(model).expanduser()
    except RuntimeError:  # "~nobody": no such user
        return None

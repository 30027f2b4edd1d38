"""Which models there are: the built-in one, local folders, and ids of the Hub."""

from dataclasses import dataclass
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
        id: what the command line and the picker take: "pocket-guide", a folder's path, or
            "owner/name".
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

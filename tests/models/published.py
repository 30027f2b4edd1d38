"""What the makers of well-known models publish of their sizes, and the configs to count again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from chat_ui.models.catalogue import catalogue

_CONFIGS: Final = Path(__file__).parent / "configs"


class Published(NamedTuple):
    """A model's published size.

    Attributes:
        total: parameters in all, tied ones once.
        active: those that one token needs, as published, so rounded; None if it is no mixture. Of
            gpt-oss and DeepSeek V3 without the input embeddings, of which a token reads one row.
        source: where both are from.
        rounded_to: the last digit that `active` is published with.
    """

    total: int
    active: int | None
    source: str
    rounded_to: int = 0


# A total is that of the Hub's page of the model, which adds up its safetensors headers, unless its
# source says otherwise. The Hub counts a tied head twice where the files have a copy of it.
PUBLISHED: Final[Mapping[str, Published]] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Published(134_515_008, None, "Hub"),
    "HuggingFaceTB/SmolLM2-360M-Instruct": Published(361_821_120, None, "Hub"),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": Published(1_711_376_384, None, "Hub"),
    "Qwen/Qwen3-0.6B": Published(596_049_920, None, "card: 0.6B; the head tied, by hand"),
    "Qwen/Qwen3-1.7B": Published(1_720_574_976, None, "card: 1.7B; the head tied, by hand"),
    "Qwen/Qwen3-4B-Instruct-2507": Published(4_022_468_096, None, "Hub; card: 4.0B"),
    "google/gemma-3-1b-it": Published(999_885_952, None, "Hub"),
    "google/gemma-3-4b-it": Published(4_300_079_472, None, "Hub; with the part that sees"),
    "meta-llama/Llama-3.2-3B-Instruct": Published(3_212_749_824, None, "Hub; card: 3.21B"),
    "meta-llama/Llama-3.1-8B-Instruct": Published(8_030_261_248, None, "Hub; shape of Llama 3 8B"),
    "meta-llama/Llama-3.3-70B-Instruct": Published(
        70_553_706_496, None, "Hub; shape of Llama 3 70B"
    ),
    "microsoft/Phi-3-mini-4k-instruct": Published(3_821_079_552, None, "Hub"),
    "microsoft/Phi-4-mini-instruct": Published(3_836_021_760, None, "Hub"),
    "Equall/Saul-7B-Instruct-v1": Published(7_241_732_096, None, "Hub; shape of Mistral 7B"),
    "Qwen/Qwen2.5-Coder-7B-Instruct": Published(7_615_616_512, None, "Hub; card: 7.61B"),
    "CohereLabs/aya-expanse-8b": Published(8_028_033_024, None, "Hub"),
    "openai/gpt-oss-20b": Published(
        20_914_757_184,
        3_610_000_000,
        "gpt-oss model card (2025), table 1: 20.91B and 3.61B",
        rounded_to=10_000_000,
    ),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": Published(
        30_532_122_624, 3_300_000_000, "Hub; card: 30.5B and 3.3B", rounded_to=100_000_000
    ),
    "Qwen/Qwen3-235B-A22B": Published(
        235_093_634_560, 22_000_000_000, "Hub; card: 235B and 22B", rounded_to=1_000_000_000
    ),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": Published(
        46_702_792_704,
        12_900_000_000,
        "Hub; Mistral AI, Mixtral of experts (2023): 46.7B and 12.9B",
        rounded_to=100_000_000,
    ),
    "mistralai/Mixtral-8x22B-Instruct-v0.1": Published(
        140_630_071_296,
        39_000_000_000,
        "Hub; Mistral AI, Cheaper, better, faster, stronger (2024): 141B and 39B",
        rounded_to=1_000_000_000,
    ),
    "deepseek-ai/DeepSeek-V3": Published(
        671_026_419_200,
        36_700_000_000,
        "README_WEIGHTS.md: 671B and 36.7B, without the module that predicts a second token",
        rounded_to=100_000_000,
    ),
}


def config(model: str) -> Mapping[str, Any]:
    """The fields of a model's config.json that matter: the catalogue's, or a file's beside this."""
    for entry in catalogue():
        if entry.id == model:
            return entry.config
    file = _CONFIGS / f"{model.replace('/', '--')}.json"
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read

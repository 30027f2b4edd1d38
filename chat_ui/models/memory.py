"""What loading a model needs and what is free, roughly: enough to decide whether to begin.

Not a forecast for a person to read, and nothing about the cache that a conversation fills.
"""

from pathlib import Path
from typing import Final, Literal

from chat_ui.errors import ChatUIError, ModelError
from chat_ui.models import checkpoint
from chat_ui.models.checkpoint import Checkpoint
from chat_ui.models.quantization import QUANTIZATIONS, Precision, quantized_as
from chat_ui.models.spec import ModelSpec

DeviceKind = Literal["cuda", "mps", "cpu"]

# Buffers, the tokenizer, and what a first short conversation takes.
_BASE_BYTES: Final = 200 * 2**20

# Peak while loading on a CPU, as a share of the checkpoint's bytes. Measured with 218M parameters
# in bfloat16: full 1.0 (its pages are the file's own), 8-bit 1.9, 4-bit 1.7, for bitsandbytes
# repacks. One that is not named here is taken for as dear as the dearest.
_CPU_PEAK: Final[dict[str, float]] = {"full": 1.1, "8bit": 2.0, "4bit": 1.8}

# A model may stay beside a new one only where that leaves the new one as much again as it needs:
# an engine takes a share of what is free for its conversations, and where that is little, its
# context window becomes smaller.
_ROOM_FACTOR: Final = 2

_CGROUP: Final = Path("/sys/fs/cgroup")


def needed_bytes(found: Checkpoint, precision: Precision, kind: DeviceKind) -> int:
    """Bytes that loading needs at its peak, in the memory of the device that runs the model."""
    quantized = quantized_as(found.config)
    growth = 1.0 if quantized is None else quantized.growth
    return load_peak_bytes(int(found.weight_bytes * growth), found.parameters, precision, kind)


def load_peak_bytes(file_bytes: int, parameters: int, precision: str, kind: DeviceKind) -> int:
    """The most that loading takes.

    Args:
        file_bytes: of the weights, in the dtype that they are read as.
        parameters: how many they are.
        precision: a name of `QUANTIZATIONS`, or a dtype's for full precision.
        kind: where the model runs.
    """
    known = next((one for name, one in QUANTIZATIONS.items() if name == precision), None)
    per_parameter = known.bytes_per_parameter if known else None
    if per_parameter is None or kind != "cuda":
        name = (known.is_kind_of or precision) if known else "full"
        peak = _CPU_PEAK.get(name, max(_CPU_PEAK.values()))
        return int(file_bytes * peak) + _BASE_BYTES
    # A GPU quantizes one layer after the other. A quarter more: the embeddings stay as they are.
    return int(parameters * per_parameter * 1.25) + _BASE_BYTES


def free_bytes(kind: DeviceKind) -> int:
    """Bytes that can be had now. For "cuda" call it on a thread that ends: it calls torch."""
    if kind == "cuda":
        import torch

        return sum(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
    import psutil

    return min([int(psutil.virtual_memory().available), *_container_rooms()])


def device_kind() -> DeviceKind:
    """Where models run on this machine. Call it on a thread that ends: it calls torch."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fits_beside(
    spec: ModelSpec,
    precision: Precision,
    draft: ModelSpec | None = None,
    *,
    resident_bytes: int = 0,
    budget_bytes: int | None = None,
) -> bool:
    """Whether a model can be loaded while others stay; False where its size is not known.

    Call it on a thread that ends.

    Args:
        spec: which model.
        precision: its precision.
        draft: a model that is loaded with it, in full precision.
        resident_bytes: what the weights of the others take.
        budget_bytes: what all together may take; None for what is free.

    Raises:
        ModelError: it alone takes more than the budget.
    """
    if spec.folder is None:
        return False
    kind = device_kind()
    try:
        needed = needed_bytes(checkpoint.read(spec.folder), precision, kind)
        if draft is not None and draft.folder is not None:
            needed += needed_bytes(checkpoint.read(draft.folder), "full", kind)
    except ChatUIError:
        return True  # it can't be loaded at all, and nothing should be unloaded for it
    if budget_bytes is not None and needed > budget_bytes:
        raise ModelError(
            f"Loading this model takes about {needed / 1e9:.1f} GB of memory; models may take "
            f"{budget_bytes / 1e9:.1f} GB here.",
            "Choose a smaller model or precision, or start with a larger --model-memory.",
        )
    if budget_bytes is not None and resident_bytes + needed > budget_bytes:
        return False
    room = free_bytes(kind) - (_own_file_bytes() if kind != "cuda" else 0)
    return needed * _ROOM_FACTOR < room


def process_bytes() -> int:
    """What this program takes of the machine's memory now, with the weights that it has mapped.

    Libraries are left out where the system tells them apart: their pages come with the first model,
    and are no model's.
    """
    import psutil

    process = psutil.Process()
    taken = process.memory_info()
    shared = getattr(taken, "shared", None)  # Linux's; see `_own_file_bytes`
    if shared is None:
        return int(taken.rss)
    # A file of the Hub's cache is a link to one in a folder "blobs".
    mapped = sum(
        one.rss
        for one in process.memory_maps()
        if one.path.endswith(".safetensors") or "/blobs/" in one.path
    )
    return int(taken.rss - shared + mapped)


def leaving_bytes(resident_bytes: int, kind: DeviceKind) -> int:
    """What would become free beside `free_bytes` if loaded models left.

    For "cuda" call it on a thread that ends: it calls torch.

    Args:
        resident_bytes: what their weights take. Those that are read from mapped files count as free
            already.
        kind: where they run. On a GPU their caches leave, too.
    """
    if kind == "cuda":
        import torch

        return sum(torch.cuda.memory_reserved(index) for index in range(torch.cuda.device_count()))
    return max(resident_bytes - _own_file_bytes(), 0)


def _own_file_bytes() -> int:
    """Bytes of files that this process has mapped and read, such as unconverted weights.

    They count as free, as their pages can be had back; a model that is to stay reads them for every
    token. Source: Linux, proc(5), /proc/pid/statm; other systems don't tell.
    """
    import psutil

    return int(getattr(psutil.Process().memory_info(), "shared", 0))


def _container_rooms() -> list[int]:
    """What a container's limit leaves, where there is one; psutil sees the whole machine.

    Pages of files in its cache count as used and can be had back.
    Source: Linux, Documentation/admin-guide/cgroup-v2.rst; the second pair of names is cgroup v1's.
    """
    rooms = []
    for folder, limit, used in (
        (_CGROUP, "memory.max", "memory.current"),
        (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            room = int((folder / limit).read_text()) - int((folder / used).read_text())
            statistics = (folder / "memory.stat").read_text().split()
        except (OSError, ValueError):  # no limit reads "max"
            continue
        by_name = dict(zip(statistics[::2], statistics[1::2], strict=False))
        rooms.append(max(room + int(by_name.get("inactive_file", "0")), 0))
    return rooms

"""What a run ran on: the machine, and the versions of what was measured."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

import psutil

_PACKAGES: Final = ("torch", "transformers", "tokenizers", "bitsandbytes", "openai", "uvicorn")
_CPUINFO: Final = Path("/proc/cpuinfo")


def describe() -> dict[str, object]:
    """The machine: processor, cores, bytes of memory, system."""
    fields = _cpu_fields()
    # Not every system has affinities; where there are, fewer cores than the machine's may be ours.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": allowed,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def has_bf16_instructions() -> bool | None:
    """Whether the processor has bfloat16 instructions; None where the system does not say."""
    flags = _cpu_fields().get("flags")
    return None if flags is None else bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def versions() -> dict[str, str]:
    """The versions of the packages that a run's numbers depend on; "" where one is not there."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _cpu_fields() -> dict[str, str]:
    """The first processor's fields in /proc/cpuinfo; empty on other systems."""
    try:
        first = _CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}

"""A contender where it is installed: llama.cpp through its Python package, in bf16 and in 8 bits.

    pip install llama-cpp-python gguf    # compiles for some minutes
    python -m tools.bench.llama_cpp      # serves commands, see child.py

It is given the checkpoint's weights, so the shape is the same. What it answers is not: llama.cpp
orders a head's numbers otherwise, which has no meaning in random weights.
"""

import importlib
import importlib.util
import json
import mmap
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy
from tokenizers import Tokenizer

from tools.bench import child
from tools.bench.shapes import WINDOW_TOKENS

_NEEDS: Final = {"llama_cpp": "llama-cpp-python", "gguf": "gguf"}


class LlamaCpp:
    """The model in llama.cpp, and the tokenizer that the others use."""

    def __init__(self) -> None:
        self._model: Any = None
        self._tokenizer: Any = None

    def load(self, folder: str, weights: str) -> child.Json:
        """Convert a checkpoint to "BF16" or "Q8_0", and load it.

        Raises:
            RuntimeError: a package is not installed.
        """
        absent = [name for module, name in _NEEDS.items() if not importlib.util.find_spec(module)]
        if absent:
            raise RuntimeError(f"not installed: {', '.join(absent)}")
        file = Path(folder) / f"{weights}.gguf"
        write(Path(folder), file, weights)
        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        threads = int(os.environ.get("OMP_NUM_THREADS") or _cores())
        self._model = importlib.import_module("llama_cpp").Llama(
            model_path=str(file),
            n_ctx=WINDOW_TOKENS,
            # Its own choice is half of the cores.
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )
        return {"dtype": weights, "file_bytes": file.stat().st_size}

    def answer(self, text: str, tokens: int) -> child.Json:
        """Answer one message with this many tokens; see `child.rate`."""
        started = time.perf_counter()
        prompt = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        answer = self._model.generate(ids, temp=0.0, repeat_penalty=1.0)
        arrivals = [time.perf_counter() for _ in islice(answer, tokens)]
        return child.rate(started, arrivals, tokens)


def write(folder: Path, file: Path, weights: str) -> None:
    """Write a checkpoint of `setup.py` as GGUF.

    Args:
        folder: the checkpoint.
        file: to write.
        weights: the matrices' type, by GGUF's name.
    """
    gguf = importlib.import_module("gguf")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"]
    out = gguf.GGUFWriter(str(file), kind)
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(layers)
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_key_length(head_dim)
    out.add_value_length(head_dim)
    out.add_rope_dimension_count(head_dim)
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    _add_tokenizer(out, folder, config["vocab_size"])
    architecture = gguf.MODEL_ARCH[kind.upper()]
    names = gguf.get_tensor_name_map(architecture, layers)
    matrix = gguf.GGMLQuantizationType[weights]
    for name, values in _tensors(folder / "model.safetensors"):
        renamed = names.get_name(name, try_suffixes=(".weight",))
        if values.ndim == 1:
            out.add_tensor(renamed, values)
        else:
            out.add_tensor(renamed, gguf.quants.quantize(values, matrix), raw_dtype=matrix)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def _add_tokenizer(out: Any, folder: Path, size: int) -> None:
    """The checkpoint's tokens, and as many that never occur as the model has rows."""
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = found["model"]["vocab"] | {one["content"]: one["id"] for one in found["added_tokens"]}
    by_id = {token_id: token for token, token_id in ids.items()}
    normal, control, unused = 1, 3, 5  # GGUF's numbers for kinds of tokens
    special = {one["id"] for one in found["added_tokens"]}
    kinds = [control if i in special else normal if i in by_id else unused for i in range(size)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list([by_id.get(token_id, f"<unused{token_id}>") for token_id in range(size)])
    out.add_token_types(kinds)
    out.add_token_merges([" ".join(pair) for pair in found["model"]["merges"]])
    out.add_bos_token_id(0)
    out.add_eos_token_id(2)


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """A safetensors file's bfloat16 tensors, in float32, one at a time; torch is not needed."""
    with file.open("rb") as source:
        data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + header_bytes])
    header.pop("__metadata__", None)
    for name, about in header.items():
        begin, end = (8 + header_bytes + offset for offset in about["data_offsets"])
        # The upper half of a float32 is a bfloat16.
        halves = numpy.frombuffer(data[begin:end], dtype="<u2").astype("<u4")
        yield name, (halves << 16).view("<f4").reshape(about["shape"])


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    llama = LlamaCpp()
    child.run({"load": llama.load, "answer": llama.answer})

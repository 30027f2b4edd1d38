"""Checkpoints that are quantized already, and what the layers of a loaded model became."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from chat_ui.engine import load, weights
from chat_ui.engine.loaded import LoadedModel
from chat_ui.errors import ModelError
from chat_ui.models import checkpoint, memory, quantization
from chat_ui.models.quantization import QUANTIZATIONS, Precision
from tests.engine import random_models

pytestmark = pytest.mark.torch

LINEARS = 2 * 7
PARAMETERS = 123_200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models.write(tmp_path_factory.mktemp("models") / "llama", dtype="bfloat16")


def load_model(folder: Path, precision: Precision = "full") -> LoadedModel:
    return load.load_model(random_models.spec(folder), precision, speedup=lambda model: 1.0)


def quantize_files(source: Path, folder: Path, precision: Precision) -> Path:
    """Write a checkpoint again, quantized by bitsandbytes."""

    def write() -> None:
        make = QUANTIZATIONS[precision].config
        assert make is not None
        model = AutoModelForCausalLM.from_pretrained(source, quantization_config=make())
        model.save_pretrained(folder)
        random_models.tokenizer().save_pretrained(folder)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write).result()
    return folder


def logits(loaded: LoadedModel) -> torch.Tensor:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return loaded.model(torch.arange(3, 20)[None]).logits.float()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


# What the layers became -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "linear"),
    [
        ("8bit", "Linear8bitLt"),
        ("4bit", "Linear4bit"),
        ("4bit-fp4", "Linear4bit"),
        ("8bit-cpu", "NativeLinear"),
    ],
)
def test_quantized_layers_are_counted(folder: Path, precision: Precision, linear: str) -> None:
    facts = load_model(folder, precision).facts
    if precision == "8bit-cpu":  # ours take the head, too
        assert facts.quantized_modules == ((linear, LINEARS + 1),)
        assert facts.left_modules == (("Embedding", 1),)
    else:
        assert facts.quantized_modules == ((linear, LINEARS),)
        assert sorted(facts.left_modules) == [("Embedding", 1), ("Linear", 1)]
    assert 0 < facts.footprint_bytes <= facts.weight_bytes < PARAMETERS * 2


def test_nothing_of_a_full_model_is_quantized(folder: Path) -> None:
    facts = load_model(folder).facts
    assert facts.quantized_modules == ()
    assert facts.left_modules == (("Linear", LINEARS + 1), ("Embedding", 1))
    assert facts.footprint_bytes == pytest.approx(PARAMETERS * 2, rel=0.01)


def test_experts_that_are_left_alone_are_counted(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 256, "head_dim": 64, "num_experts": 2}
    folder = random_models.write(tmp_path / "m", "qwen3_moe", **sizes)
    facts = load_model(folder, "4bit").facts
    assert dict(facts.quantized_modules) == {"Linear4bit": 2 * 4}
    assert dict(facts.left_modules)["Qwen3MoeExperts"] == 2


@pytest.mark.parametrize("name", ["qweight", "weight_packed"])
def test_layers_of_other_libraries_count_as_quantized(name: str) -> None:
    layer = torch.nn.Linear(4, 4)
    layer.register_buffer(name, torch.zeros(4, dtype=torch.int32))
    model = torch.nn.Sequential(layer, torch.nn.Linear(4, 4))
    assert weights.module_counts(model) == ((("Linear", 1),), (("Linear", 1),))


def test_kinds_of_4_bit_differ_in_bytes_and_numbers(folder: Path) -> None:
    kinds: tuple[Precision, ...] = ("4bit", "4bit-nf4", "4bit-fp4", "4bit-fp4-double")
    loaded = {kind: load_model(folder, kind) for kind in kinds}
    sizes = {kind: model.facts.weight_bytes for kind, model in loaded.items()}
    assert sizes["4bit-nf4"] == sizes["4bit-fp4"]
    exact = logits(load_model(folder))
    errors = {kind: float((logits(model) - exact).norm()) for kind, model in loaded.items()}
    assert len(set(errors.values())) == len(kinds)
    assert errors["4bit-nf4"] < errors["4bit-fp4"]


# Quantized files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "linear"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")]
)
def test_files_of_bitsandbytes_are_loaded_as_they_are(
    folder: Path, tmp_path: Path, precision: Precision, linear: str
) -> None:
    quantized = quantize_files(folder, tmp_path / "m", precision)
    loaded, before = load_model(quantized), load_model(folder, precision)
    assert loaded.facts.precision == "full"
    assert loaded.facts.quantized_modules == ((linear, LINEARS),)
    assert loaded.facts.parameters == PARAMETERS
    assert loaded.facts.weight_bytes == pytest.approx(before.facts.weight_bytes, rel=0.02)
    assert torch.equal(logits(loaded), logits(before))


@pytest.mark.parametrize("precision", ["8bit", "4bit", "8bit-cpu"])
def test_quantized_files_are_not_quantized_again(
    folder: Path, tmp_path: Path, precision: Precision
) -> None:
    quantized = quantize_files(folder, tmp_path / "m", "4bit")
    with pytest.raises(ModelError, match=r"quantized already \(bitsandbytes, 4-bit\)") as caught:
        load_model(quantized, precision)
    assert "Full" in caught.value.next_step


def fp8_files(source: Path, folder: Path) -> Path:
    """Write a checkpoint again with weights in FP8 and a scale for each block of 32 times 32."""
    tensors = load_file(source / "model.safetensors")
    written: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if "_proj" not in name:
            written[name] = tensor
            continue
        rows, columns = tensor.shape
        blocks = tensor.float().view(rows // 32, 32, columns // 32, 32)
        scale = blocks.abs().amax(dim=(1, 3), keepdim=True) / 448  # the largest number of e4m3
        numbers = (blocks / scale).to(torch.float8_e4m3fn).view(rows, columns)
        written[name] = numbers
        written[f"{name}_scale_inv"] = scale[:, 0, :, 0].clone()
    folder.mkdir()
    save_file(written, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    (folder / "generation_config.json").write_bytes(
        (source / "generation_config.json").read_bytes()
    )
    random_models.tokenizer().save_pretrained(str(folder))
    said: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    random_models.change_config(folder, quantization_config=said)
    return folder


def test_fp8_becomes_16_bits(folder: Path, tmp_path: Path) -> None:
    """Its kernels are fetched from the Hub, so it is turned into bfloat16 while it is read."""
    loaded, before = load_model(fp8_files(folder, tmp_path / "m")), load_model(folder)
    assert loaded.facts.dtype == "bfloat16"
    assert loaded.facts.quantized_modules == ()
    assert loaded.facts.parameters == PARAMETERS
    assert loaded.facts.weight_bytes == before.facts.weight_bytes
    error = (logits(loaded) - logits(before)).norm() / logits(before).norm()
    assert 0 < error < 0.2


# Source: OCP Microscaling Formats 1.0, section 5.3.3: the numbers of E2M1.
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def test_mxfp4_becomes_16_bits(tmp_path: Path) -> None:
    """As FP8: on a CPU and on a GPU. Two numbers are in a byte, the first one in its low bits."""
    sizes: dict[str, Any] = {"head_dim": 16, "intermediate_size": 64, "num_local_experts": 2}
    folder = random_models.write(
        tmp_path / "m", model_type="gpt_oss", dtype="bfloat16", num_experts_per_tok=2, **sizes
    )
    tensors = load_file(folder / "model.safetensors")
    experts = "model.layers.1.mlp.experts.gate_up_proj"
    plain = tensors.pop(experts)  # (experts, inputs, outputs)
    count, inputs, outputs = plain.shape
    numbers = torch.Generator().manual_seed(0)
    shape = (count, outputs, inputs // 32, 16)
    blocks = torch.randint(0, 256, shape, generator=numbers, dtype=torch.uint8)
    scales = torch.randint(120, 124, shape[:-1], generator=numbers, dtype=torch.uint8)
    packed = {f"{experts}_blocks": blocks, f"{experts}_scales": scales}
    save_file({**tensors, **packed}, folder / "model.safetensors", {"format": "pt"})
    random_models.change_config(folder, quantization_config={"quant_method": "mxfp4"})

    loaded = load_model(folder)
    assert loaded.facts.dtype == "bfloat16"
    assert loaded.facts.quantized_modules == ()
    both = torch.stack([blocks & 15, blocks >> 4], dim=-1).long()
    values = E2M1[both & 7] * (1 - 2 * (both >> 3))
    wanted = values.flatten(-2) * torch.exp2(scales.float() - 127)[..., None]
    got = loaded.model.get_parameter(experts).float().transpose(1, 2)
    assert torch.equal(got, wanted.flatten(-2))


def test_weights_that_grow_are_refused_where_they_don_t_fit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = checkpoint.read(fp8_files(folder, tmp_path / "m"))
    base = memory.needed_bytes(replace(grown, weight_bytes=0), "full", "cpu")
    needed = memory.needed_bytes(grown, "full", "cpu")
    assert needed - base >= PARAMETERS * 2
    monkeypatch.setattr(memory, "free_bytes", lambda kind: needed - 1)
    with pytest.raises(ModelError, match="are free"):
        load_model(grown.folder)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4}, r"GPTQ, 4-bit\).*missing: optimum, gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "AWQ, 4-bit.*missing: gptqmodel"),
        ({"quant_method": "compressed-tensors"}, "missing: compressed-tensors"),
        ({"quant_method": "modelopt"}, r"\(modelopt\), in a way that this app can't load"),
    ],
)
def test_files_that_want_a_package_name_it(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: dict[str, Any],
    expected: str,
) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda module: None)
    quantized = random_models.write(tmp_path / "m")
    random_models.change_config(quantized, quantization_config=method)
    with pytest.raises(ModelError, match=expected) as caught:
        load_model(quantized)
    assert caught.value.next_step.endswith(".")

"""The kernels for few rows on a CPU: the same numbers as torch's, whatever the shape, or none."""

import ctypes
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from chat_ui.engine import native
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import run_on_own_thread
from chat_ui.engine.native import compiled, decoder, linears
from chat_ui.engine.native.linears import NativeLinear, adopt, quantize, restore
from chat_ui.errors import ModelError
from chat_ui.models import memory
from tests.engine import random_models

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(compiled.kernels() is None, reason="no compiler on this machine"),
]

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.01}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def plain(inputs: int, outputs: int, dtype: torch.dtype, *, bias: bool = True) -> torch.nn.Linear:
    torch.manual_seed(inputs * 1000 + outputs)
    return torch.nn.Linear(inputs, outputs, bias=bias).to(dtype)


def difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max())


# Products.


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("rows", range(1, compiled.MAX_ROWS + 1))
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(1, 1), (15, 2), (16, 3), (33, 37), (64, 1), (100, 129), (576, 64)]
)
def test_products_are_torch_s(dtype: torch.dtype, rows: int, inputs: int, outputs: int) -> None:
    module = plain(inputs, outputs, dtype, bias=outputs % 2 == 1)
    x = torch.randn(rows, inputs).to(dtype)
    wanted = linear(x.double(), module.weight.double(), None if module.bias is None
                    else module.bias.double())  # fmt: skip
    got = adopt(module, widened=False)(x)
    assert got.dtype == dtype
    assert difference(got, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_row_does_not_depend_on_its_company(dtype: torch.dtype) -> None:
    module = adopt(plain(200, 77, dtype), widened=False)
    x = torch.randn(compiled.MAX_ROWS, 200).to(dtype)
    together = module(x)
    for rows in range(1, compiled.MAX_ROWS):
        assert torch.equal(module(x[:rows]), together[:rows])
        assert torch.equal(module(x[rows:]), together[rows:])


def test_any_shape_and_stride_of_the_input_is_taken() -> None:
    module = plain(64, 32, torch.float32)
    x = torch.randn(64, 2, 3).permute(1, 2, 0)
    wanted = module(x)
    assert difference(adopt(module, widened=False)(x), wanted) < 1e-5
    assert module(torch.empty(0, 64)).shape == (0, 32)


@pytest.mark.parametrize("widened", [False, True])
def test_many_rows_are_torch_s_own(widened: bool) -> None:
    module = plain(64, 32, torch.bfloat16)
    x = torch.randn(compiled.MAX_ROWS + 1, 64).bfloat16()
    wanted = module(x)
    got = adopt(module, widened=widened)(x)
    assert got.dtype == torch.bfloat16
    assert difference(got, wanted) < TOLERANCE[torch.bfloat16]


def test_restored_is_as_it_was() -> None:
    module = plain(64, 32, torch.float32)
    before = dict(module.__dict__)
    weight = module.weight
    restore(adopt(module, widened=True))
    assert type(module) is torch.nn.Linear
    assert module.__dict__ == before
    assert module.weight is weight


def test_nan_is_not_hidden() -> None:
    module = plain(64, 32, torch.bfloat16)
    module.weight.data[3, 5] = float("nan")
    got = adopt(module, widened=False)(torch.ones(1, 64).bfloat16())
    assert got.isnan().sum() == 1


# 8 bits.


@pytest.mark.parametrize("rows", [1, 3, compiled.MAX_ROWS, 20])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_eight_bits_are_near(rows: int, dtype: torch.dtype) -> None:
    module = plain(256, 100, dtype)
    x = torch.randn(rows, 256).to(dtype)
    wanted = module(x).float()
    got = quantize(module, widened=False)(x).float()
    assert module.weight.dtype == torch.int8
    # 127 steps for a row's largest weight: the error's spread is 0.5 % of that of the products.
    assert float((got - wanted).std() / wanted.std()) < 0.015


def test_eight_bits_on_torch_s_kernel_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no compiler."""
    module = quantize(plain(256, 100, torch.bfloat16), widened=False)
    x = torch.randn(2, 3, 256).bfloat16()
    wanted = module(x)
    monkeypatch.setattr(linears, "kernels", lambda: None)
    assert difference(module(x), wanted) < 0.02


def test_a_row_of_zeros_stays_zero() -> None:
    module = plain(64, 4, torch.float32, bias=False)
    module.weight.data[2] = 0
    assert quantize(module, widened=False)(torch.ones(1, 64))[0, 2] == 0


# Layers.


def model(folder: Path, variant: str = "llama", dtype: str = "float32", **config: Any) -> Any:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    random_models.write(folder, variant, dtype=dtype, **config)
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["llama", "qwen3", "mistral"])
def test_usual_layers_become_one_call(tmp_path: Path, variant: str, dtype: str) -> None:
    replaced = native.accelerate(model(tmp_path, variant, dtype))
    assert replaced.layers == 2
    assert replaced.linears == 15


@pytest.mark.parametrize("variant", ["lfm2", "mamba2"])
def test_other_layers_stay_and_their_linears_do_not(tmp_path: Path, variant: str) -> None:
    other = model(tmp_path, variant)
    ids = torch.tensor([[5, 6, 7]])
    wanted = other(ids).logits
    replaced = native.accelerate(other)
    assert replaced.layers == 0
    assert replaced.linears > 0
    assert difference(other(ids).logits, wanted) < 1e-4


@pytest.mark.parametrize("part", ["residual", "rotation", "activation", "norm"])
def test_a_layer_that_computes_otherwise_is_found_out(tmp_path: Path, part: str) -> None:
    changed = model(tmp_path)
    layer = changed.model.layers[1]
    own = layer.forward
    if part == "residual":
        layer.forward = lambda hidden, **kwargs: own(hidden, **kwargs) * 0.5
    elif part == "rotation":  # as SmolLM3's layers without positions
        layer.forward = lambda hidden, *, position_embeddings, **kwargs: own(
            hidden,
            position_embeddings=tuple(
                torch.full_like(table, float(number == 0))
                for number, table in enumerate(position_embeddings)
            ),
            **kwargs,
        )
    elif part == "activation":
        layer.mlp.act_fn = torch.nn.GELU()
    else:
        layer.input_layernorm.forward = lambda x: x
    replaced = native.accelerate(changed)
    assert replaced.layers == 1
    assert isinstance(changed.model.layers[0].forward.__self__, decoder.DecoderLayer)


def test_a_layer_with_other_parts_is_not_tried(tmp_path: Path) -> None:
    changed = model(tmp_path)
    del changed.model.layers[0].mlp.gate_proj
    changed.model.layers[0].mlp.gate_proj = torch.nn.Identity()
    assert native.accelerate(changed).layers == 1


def test_a_layer_of_another_size_keeps_its_own_way(tmp_path: Path) -> None:
    """All layers share a step's memory, which the first one's size decides."""
    changed = model(tmp_path, num_hidden_layers=3)
    mlp = changed.model.layers[1].mlp
    for name, sizes in (("gate_proj", (64, 512)), ("up_proj", (64, 512)), ("down_proj", (512, 64))):
        setattr(mlp, name, torch.nn.Linear(*sizes, bias=False))
    assert native.accelerate(changed).layers == 2
    assert not isinstance(
        getattr(changed.model.layers[1].forward, "__self__", None), decoder.DecoderLayer
    )


@pytest.mark.parametrize("name", ["v_proj", "k_proj", "o_proj", "q_proj"])
def test_a_layer_whose_parts_do_not_fit_is_not_run(tmp_path: Path, name: str) -> None:
    """The kernel would read beyond its weights."""
    made = model(tmp_path)
    layer = made.model.layers[0]
    old = getattr(layer.self_attn, name)
    odd = torch.nn.Linear(old.in_features, old.out_features + 16, bias=False)
    setattr(layer.self_attn, name, odd)
    for module in layer.modules():
        if linears.is_adoptable(module):
            adopt(module, widened=False)
    assert not decoder.is_usual(layer)


def test_an_input_of_the_wrong_size_is_refused_as_torch_does() -> None:
    module = adopt(plain(64, 32, torch.float32), widened=False)
    with pytest.raises(RuntimeError):
        module(torch.ones(1, 128))


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 33, 64, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_over_a_cache_is_torch_s(tmp_path: Path, length: int, dtype: torch.dtype) -> None:
    """Slots in any order, and scores so large that the exponential would overflow."""
    from transformers import DynamicCache  # noqa: PLC0415

    made = model(tmp_path, "qwen3", str(dtype).removeprefix("torch."), num_hidden_layers=1)
    layer, rotary = made.model.layers[0], made.model.rotary_emb
    layer.self_attn.q_norm.weight.data *= 8
    for module in layer.modules():
        if type(module) is torch.nn.Linear:
            adopt(module, widened=False)
    hidden = torch.randn(1, length, 64).to(dtype)
    positions = torch.arange(length)[None]
    tables = rotary(hidden, positions)
    cache = DynamicCache()
    mask = torch.full((length, length), -torch.inf, dtype=dtype).triu(1)[None, None]
    wanted = layer(hidden, attention_mask=mask, position_embeddings=tables, past_key_values=cache)
    keys, values = cache.layers[0].keys[0], cache.layers[0].values[0]  # (heads, length, size)
    slots = torch.randperm(length + 7)[:length]
    store = torch.zeros(2, length + 7, keys.shape[0], keys.shape[2], dtype=dtype)
    store[0][slots[:-1]] = keys.transpose(0, 1)[:-1]
    store[1][slots[:-1]] = values.transpose(0, 1)[:-1]
    ours = decoder.DecoderLayer(layer, decoder.StepInputs())
    kept = [tables[0][0, -1:].float(), tables[1][0, -1:].float(), slots[-1:].clone(), slots]
    kept += [torch.tensor([0]), torch.tensor([length])]
    threads = torch.get_num_threads()
    kernels = compiled.kernels()
    scratch = torch.empty(kernels.scratch_floats(ctypes.addressof(ours.struct), 1, threads))
    step = compiled.Step(1, *(t.data_ptr() for t in kept), threads, scratch.data_ptr())
    got = ours.run(hidden[:, -1:], step, store[0].data_ptr(), store[1].data_ptr())
    assert difference(got[0, 0], wanted[0, -1]) < {torch.float32: 1e-4, torch.bfloat16: 0.03}[dtype]


def test_a_nan_in_a_row_stays_in_that_row(tmp_path: Path) -> None:
    made = model(tmp_path, num_hidden_layers=1)
    native.accelerate(made)
    ours = made.model.layers[0].forward.__self__
    hidden = torch.randn(1, 2, 64)
    hidden[0, 1, 5] = float("nan")
    tables = [table[0] for table in made.model.rotary_emb(hidden, torch.tensor([[0, 0]]))]
    rows = torch.arange(2)
    kept = [*(t.contiguous() for t in tables), rows, rows, rows, torch.ones_like(rows)]
    scratch = torch.empty(
        compiled.kernels().scratch_floats(ctypes.addressof(ours.struct), 2, torch.get_num_threads())
    )
    step = compiled.Step(
        2, *(t.data_ptr() for t in kept), torch.get_num_threads(), scratch.data_ptr()
    )
    cache = torch.zeros(2, 2, 2, 16)
    got = ours.run(hidden, step, cache[0].data_ptr(), cache[1].data_ptr())
    assert got[0, 0].isfinite().all()
    assert got[0, 1].isnan().all()


# Stepping aside.


def test_without_a_compiler_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "COMPILERS", ("no-such-compiler", "false"))
    assert compiled.kernels.__wrapped__() is None
    monkeypatch.setattr(native, "kernels", lambda: None)
    made = model(tmp_path)
    assert not native.accelerate(made)
    assert not any(isinstance(module, NativeLinear) for module in made.modules())


def test_kernels_that_do_not_win_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(tmp_path)
    monkeypatch.setattr(native, "_MEASURABLE_PARAMETERS", 0)
    monkeypatch.setattr(native, "_best_s", lambda jobs: [1.0, 2.0])
    assert not native.accelerate(made)
    assert not any(isinstance(module, NativeLinear) for module in made.modules())
    monkeypatch.setattr(native, "_best_s", lambda jobs: [2.0, 1.0])
    assert native.accelerate(made).speedup == 2.0


def test_kernels_that_differ_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = NativeLinear._few
    monkeypatch.setattr(NativeLinear, "_few", lambda self, x, rows: own(self, x, rows) * 1.1)
    made = model(tmp_path)
    assert not native.accelerate(made)
    assert not any(isinstance(module, NativeLinear) for module in made.modules())


def test_timing_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    module = plain(512, 512, torch.bfloat16)
    assert 0.01 < native._speedup([module]) < 1000
    assert native._is_faster_widened([module]) in (True, False)
    assert torch.get_num_threads() == threads
    assert type(module) is torch.nn.Linear


# Loading.


def test_fast_8_bit_is_loaded_and_verified(tmp_path: Path) -> None:
    random_models.write(tmp_path / "m", hidden_size=256)
    spec = random_models.spec(tmp_path / "m")
    full = load_model(spec, "full", speedup=lambda model: 1.0)
    fast = load_model(spec, "8bit-cpu", speedup=lambda model: 1.0)
    assert fast.facts.precision == "8bit-cpu"
    assert fast.facts.dtype == "float32"
    assert fast.facts.weight_bytes < 0.4 * full.facts.weight_bytes

    @torch.no_grad()
    def logits(model: Any) -> torch.Tensor:
        found: torch.Tensor = model(torch.tensor([list(range(3, 60))])).logits.float()
        return found

    def wanted(model: Any) -> torch.Tensor:
        """Of the same weights, rounded, in torch's own layers."""
        for name, module in fast.model.named_modules():
            if isinstance(module, NativeLinear):
                assert module.scale is not None
                rounded = module.weight.float() * module.scale[:, None]
                model.get_submodule(name).weight = torch.nn.Parameter(rounded)
        return logits(model.float())

    made = run_on_own_thread(partial(model, tmp_path / "m", hidden_size=256))
    plain_logits = run_on_own_thread(partial(wanted, made))
    got = run_on_own_thread(partial(logits, fast.model))
    assert float((got - plain_logits).std() / plain_logits.std()) < 1e-4


def test_fast_8_bit_is_refused_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_models.write(tmp_path / "m")
    monkeypatch.setattr(memory, "device_kind", lambda: "cuda")
    with pytest.raises(ModelError, match="is for a CPU"):
        load_model(random_models.spec(tmp_path / "m"), "8bit-cpu")


def test_half_precision_checkpoints_are_converted_for_fast_8_bit(tmp_path: Path) -> None:
    random_models.write(tmp_path / "m", dtype="float16")
    loaded = load_model(random_models.spec(tmp_path / "m"), "8bit-cpu")
    assert loaded.facts.dtype == "bfloat16"

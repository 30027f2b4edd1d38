"""What this machine can do is found by doing it, and what it can't is said in a sentence."""

import gc
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from chat_ui.engine import native, probe, stand_in
from chat_ui.engine.loaded import run_on_own_thread
from chat_ui.engine.native import compiled
from chat_ui.engine.stand_in import PROMPT_TOKENS, Shape
from chat_ui.models.hardware import PrecisionSpeed
from chat_ui.models.quantization import QUANTIZATIONS, precision

pytestmark = pytest.mark.torch

# The libraries' million objects, which every loop's end would walk.
gc.freeze()

PRECISIONS = ["float32", "bfloat16", "8bit-cpu", "8bit", "4bit", "4bit-fp4"]
# bitsandbytes wants multiples of 64.
SMALL = Shape(width=128, inner=192, layers=3, vocabulary=256)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take a moment and say nothing of the machine."""
    monkeypatch.setattr(probe, "_NARROW", SMALL)
    monkeypatch.setattr(probe, "_FEW_LAYERS", 1)
    monkeypatch.setattr(probe, "_CPU_WIDE", Shape(256, 320, 1, 256))
    monkeypatch.setattr(probe, "_CACHES_BYTES", 4096)
    monkeypatch.setattr(probe, "_CPU_BYTES", 2**16)
    monkeypatch.setattr(probe, "_TOKENS", 4)
    monkeypatch.setattr(native, "_SECONDS", 0.0)


def built(name: str, like: Any = None) -> Any:
    return run_on_own_thread(lambda: stand_in.build(name, SMALL, "cpu", like))


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_of_a_cpu_is_run_and_timed(name: str) -> None:
    speed = run_on_own_thread(lambda: probe.probe_precision(name, "cpu"))
    assert speed.works, speed.reason
    assert speed.reason == ""
    assert speed.read_bytes_per_s > 0
    assert speed.prompt_flops_per_s > 0
    assert speed.layer_s >= 0
    assert speed.step_s >= 0


def test_the_times_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine whose speeds are known: they come out again."""
    rate, layer_s, step_s, flops, call_s = 2e9, 3e-4, 5e-3, 4e9, 1e-4

    def parameters(linears: Sequence[Any]) -> int:
        return sum(linear.in_features * linear.out_features for linear in linears)

    def usual_s(self: object, linears: Sequence[Any], rows: int) -> float:
        if rows == 1:
            # A call costs something whatever its size is; a layer's is in `layer_s`.
            cost_s = call_s * len(linears) if len(linears) > 1 else 0.0
            return cost_s + 4 * parameters(linears) / rate
        return 2 * rows * parameters(linears) / flops

    def answer_s(model: Any, tokens: int, rest: Any) -> list[float]:
        one = parameters(stand_in.layer_linears(model))
        layers = len(model.model.layers)
        beside_s = step_s + 4 * model.lm_head.weight.numel() / rate
        token_s = beside_s + layers * (layer_s + 4 * one / rate)
        return [beside_s + layers * 2 * PROMPT_TOKENS * one / flops, *[token_s] * (tokens - 1)]

    monkeypatch.setattr(probe._Probe, "_usual_s", usual_s)
    monkeypatch.setattr(stand_in, "answer_s", answer_s)
    speed = run_on_own_thread(lambda: probe.probe_precision("float32", "cpu"))
    assert speed.reason == ""
    assert speed.read_bytes_per_s == pytest.approx(rate)
    assert speed.layer_s == pytest.approx(layer_s)
    assert speed.step_s == pytest.approx(step_s)
    assert speed.prompt_flops_per_s == pytest.approx(flops)


def test_times_that_make_no_sense_still_give_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may find few layers slower than many, and a small product than a large one."""
    times = iter([9.0, 9.0, 9.0, 1.0, 1.0])
    monkeypatch.setattr(probe._Probe, "_usual_s", lambda *args: next(times))
    answers = iter([[1.0] * 5, [9.0, 2.0, 2.0, 2.0, 2.0]])
    monkeypatch.setattr(stand_in, "answer_s", lambda *args: next(answers))
    speed = run_on_own_thread(lambda: probe.probe_precision("float32", "cpu"))
    assert speed.works, speed.reason
    assert speed.read_bytes_per_s > 0
    assert speed.prompt_flops_per_s > 0
    assert (speed.layer_s, speed.step_s) == (0.0, 0.0)


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_modules_are_those_of_the_app(name: str) -> None:
    model = built(name)
    own = "Linear" if compiled.kernels() is None else "NativeLinear"
    wanted = QUANTIZATIONS[precision(name)].linear if name in QUANTIZATIONS else own
    assert {type(linear).__name__ for linear in stand_in.layer_linears(model)} == {wanted}
    assert len(stand_in.layer_linears(model)) == 7
    alike = built(name, like=model)
    assert {type(linear).__name__ for linear in stand_in.layer_linears(alike)} == {wanted}


@pytest.mark.skipif(compiled.kernels() is None, reason="no compiler on this machine")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "8bit-cpu"])
def test_the_layers_are_run_by_our_kernel_where_the_app_does(name: str) -> None:
    model = built(name)
    assert all("forward" in vars(layer) for layer in model.model.layers)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("No module named 'secret'"), "missing"),
        (RuntimeError("can't allocate memory: you tried /secret"), "memory"),
        (ValueError("/home/secret/kernels.so"), "could not be run"),
    ],
)
def test_what_fails_is_a_sentence_and_a_next_step(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Qwen3ForCausalLM, "from_pretrained", fail)
    speed = run_on_own_thread(lambda: probe.probe_precision("8bit", "cpu"))
    assert not speed.works
    assert said in speed.reason
    assert "secret" not in speed.reason
    assert speed.reason.count(". ") == 1
    assert speed.reason.endswith(".")
    assert speed == PrecisionSpeed(False, speed.reason)


def test_what_is_for_a_cpu_is_not_tried_on_a_gpu() -> None:
    speed = probe.probe_precision("8bit-cpu", "cuda")
    assert not speed.works
    assert "CPU" in speed.reason


@pytest.mark.parametrize("wrong", [0.0, float("nan"), -1.0])
def test_a_kernel_that_computes_nonsense_does_not_work(wrong: float) -> None:
    model = built("float32")
    stand_in.check(model)
    linear = stand_in.layer_linears(model)[0]
    right = linear.forward
    linear.forward = lambda states: right(states) * wrong
    with pytest.raises(ArithmeticError):
        stand_in.check(model)


def test_an_answer_has_a_time_for_each_step_and_leaves_the_model_as_it_was() -> None:
    model = built("float32")
    attention = model.config._attn_implementation
    rests: list[None] = []
    for layers in (3, 1):
        stand_in.keep_layers(model, layers)
        rests.clear()
        times = run_on_own_thread(lambda: stand_in.answer_s(model, 6, lambda: rests.append(None)))
        assert len(times) == 6
        assert min(times) > 0
        assert len(rests) >= 6
        assert model.config._attn_implementation == attention


def test_a_model_that_gives_no_numbers_is_an_error() -> None:
    model = built("float32")
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        run_on_own_thread(lambda: stand_in.answer_s(model, 3))


def test_bandwidth_is_the_best_of_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_on_own_thread(probe.read_bandwidth) > 0
    sums, products = run_on_own_thread(lambda: probe.bandwidth_samples(2**16, 3))
    assert len(sums) == len(products) == 3
    assert min(*sums, *products) > 0
    monkeypatch.setattr(probe, "bandwidth_samples", lambda *args: ([1.0, 3.0], [2.0]))
    assert probe.read_bandwidth() == 3.0

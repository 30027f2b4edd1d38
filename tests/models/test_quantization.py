"""The precisions and their names, and what a config says of weights that are quantized already."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import InvalidRequestError
from chat_ui.models import quantization
from chat_ui.models.quantization import (
    MAIN_PRECISIONS,
    PRECISIONS,
    QUANTIZATIONS,
    Precision,
    precision,
    quantized_as,
)


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_has_its_entry(name: str) -> None:
    chosen = QUANTIZATIONS[precision(name)]
    assert chosen.label
    assert chosen.caveat.endswith(".")
    assert (chosen.bytes_per_parameter is None) == (name == "full")
    assert (chosen.config is None) == (name == "full" or chosen.is_for_cpu)


@pytest.mark.parametrize("name", ["", "16bit", "FULL", "4bit "])
def test_there_is_no_other(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="no such precision") as caught:
        precision(name)
    assert "4bit" in caught.value.next_step


def test_the_kinds_of_4_bit_come_after_the_main_precisions() -> None:
    assert MAIN_PRECISIONS == ("full", "8bit", "4bit", "8bit-cpu")
    assert PRECISIONS[: len(MAIN_PRECISIONS)] == MAIN_PRECISIONS
    kinds = [QUANTIZATIONS[name] for name in PRECISIONS[len(MAIN_PRECISIONS) :]]
    assert {kind.is_kind_of for kind in kinds} == {"4bit"}
    assert len({method.label for method in QUANTIZATIONS.values()}) == len(PRECISIONS)


def test_double_quantization_saves_a_tenth_of_the_bytes() -> None:
    plain, double = (QUANTIZATIONS[name].bytes_per_parameter for name in ("4bit-nf4", "4bit"))
    assert plain == 4.5 / 8
    assert double == pytest.approx(4.127 / 8, rel=1e-4)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "kind", "is_double"),
    [
        ("4bit", "nf4", True),
        ("4bit-nf4", "nf4", False),
        ("4bit-fp4", "fp4", False),
        ("4bit-fp4-double", "fp4", True),
    ],
)
def test_each_kind_asks_for_what_its_name_says(name: Precision, kind: str, is_double: bool) -> None:
    make = QUANTIZATIONS[name].config
    assert make is not None
    asked = make()
    assert asked.load_in_4bit
    assert asked.bnb_4bit_quant_type == kind
    assert asked.bnb_4bit_use_double_quant is is_double
    assert str(asked.bnb_4bit_compute_dtype) == "torch.bfloat16"


# Checkpoints that are quantized already -------------------------------------------------------

COMPRESSED = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
}


@pytest.mark.parametrize(
    ("said", "method", "label"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq", "GPTQ, 4-bit"),
        ({"quant_method": "awq", "w_bit": 4}, "awq", "AWQ, 4-bit"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", "FP8"),
        ({"quant_method": "mxfp4"}, "mxfp4", "MXFP4"),
        (COMPRESSED, "compressed-tensors", "compressed-tensors, 8-bit"),
        ({"load_in_8bit": True}, "bitsandbytes", "bitsandbytes, 8-bit"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False},
            "bitsandbytes",
            "bitsandbytes, 4-bit",
        ),
    ],
)
def test_a_config_says_how_its_weights_are_quantized(
    said: dict[str, Any], method: str, label: str
) -> None:
    found = quantized_as({"quantization_config": said})
    assert found is not None
    assert (found.method, found.label, found.is_known) == (method, label, True)


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}, {"text_config": {}}])
def test_most_weights_are_not_quantized(config: dict[str, Any]) -> None:
    assert quantized_as(config) is None


def test_the_text_part_may_say_it() -> None:
    found = quantized_as({"text_config": {"quantization_config": {"quant_method": "awq"}}})
    assert found is not None
    assert found.label == "AWQ"


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ({"quant_method": "modelopt"}, "modelopt"),
        ({"quant_method": "\x1b[31m"}, "an unknown method"),
        ({"quant_method": ["gptq"]}, "an unknown method"),
        ({}, "an unknown method"),
        ("gptq", "an unknown method"),
    ],
)
def test_what_nobody_knows_is_not_taken_for_known(said: Any, label: str) -> None:
    found = quantized_as({"quantization_config": said})
    assert found is not None
    assert not found.is_known
    assert found.label == label


def test_missing_packages_are_named_as_pip_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda module: None)
    found = quantized_as({"quantization_config": COMPRESSED})
    assert found is not None
    assert found.packages == ("compressed-tensors",)
    monkeypatch.setattr(quantization, "find_spec", lambda module: object())
    found = quantized_as({"quantization_config": COMPRESSED})
    assert found is not None
    assert found.packages == ()


def test_a_package_in_one_that_is_missing_is_missing() -> None:
    found = quantized_as({"quantization_config": {"quant_method": "quanto"}})
    assert found is not None
    assert found.packages == ("optimum-quanto",)


def test_bitsandbytes_is_there() -> None:
    found = quantized_as({"quantization_config": {"load_in_4bit": True}})
    assert found is not None
    assert found.packages == ()
    assert not found.is_dequantized


def test_weights_that_become_16_bits_grow() -> None:
    for method, growth in (("fp8", 2.0), ("mxfp4", 16 / 4.25)):
        found = quantized_as({"quantization_config": {"quant_method": method}})
        assert found is not None
        assert found.is_dequantized
        assert found.growth == growth


FIELDS = st.sampled_from(
    ["quantization_config", "text_config", "quant_method", "bits", "w_bit", "config_groups",
     "weights", "num_bits", "load_in_4bit", "load_in_8bit"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["gptq", "awq", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(FIELDS, VALUES))
def test_any_config_is_read(config: dict[str, Any]) -> None:
    found = quantized_as(config)
    if found is not None:
        assert found.label
        assert found.bits is None or 1 <= found.bits <= 16

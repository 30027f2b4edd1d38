"""What a model's name says of its size, and what it only seems to say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.models.names import NameReading, read_name

B = 10**9
M = 10**6

reproducible = settings(deadline=None, derandomize=True)

# Sizes as makers write them: 7B, 0.6B, 135m.
SIZES = st.builds(
    lambda number, unit: f"{number:g}{unit}",
    st.integers(1, 999) | st.integers(1, 999).map(lambda tenths: tenths / 10),
    st.sampled_from("BbMm"),
)


def parameters(size: str) -> int:
    return round(float(size[:-1]) * {"B": B, "M": M}[size[-1].upper()])


def read(name: str) -> NameReading:
    reading = read_name(name)
    assert reading is not None
    return reading


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("8B", 8 * B),
        ("70B", 70 * B),
        ("0.6B", 600 * M),
        ("135M", 135 * M),
        ("1.7b", 1_700 * M),
        ("openai/gpt-oss-20b", 20 * B),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135 * M),
        ("Qwen/Qwen1.5-0.5B", 500 * M),
        ("meta-llama/Llama-3.2-1B-Instruct", B),
        ("llama3.1:8b", 8 * B),
        ("llama_2_7b", 7 * B),
        ("stabilityai/stablelm-2-zephyr-1_6b", 1_600 * M),
        ("inclusionAI/Ring-1T", 1_000 * B),
        ("/models/Qwen3-4B/", 4 * B),
        ("C:\\models\\Qwen3-4B", 4 * B),
    ],
)
def test_a_size_is_read_wherever_it_stands(name: str, total: int) -> None:
    reading = read(name)
    assert reading.total_parameters == total
    assert reading.active_parameters is None
    assert reading.experts is None
    assert not reading.is_effective


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "microsoft/Phi-3-mini-4k-instruct",
        "phi-3-medium-128k",
        "v0.3B",
        "model-v0.1",
        "Llama-3.1.8B",
        "Qwen3-2507",
        "model-4bit",
        "model-8bit",
        "model-int4",
        "model-Q4_K_M",
        "model-fp8",
        "model-4.0bpw",
        "model-w4a16",
        "0B",
        "0x7B",
        "3B-A30B",
        "8b7d1f",
        "\uff18B",
        "\u0663B",
    ],
)
def test_what_is_no_size_is_not_read(name: str) -> None:
    assert read_name(name) is None


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("Qwen3-8B-4bit", 8 * B),
        ("01-ai/Yi-34B-200K", 34 * B),
        ("Qwen2.5-7B-Instruct-1M", 7 * B),
        ("Nemotron-UltraLong-1M-8B", 8 * B),
        ("TinyLlama-1.1B-step-1431k-3T", 1_100 * M),
        ("bitnet-b1.58-2B-4T", 2 * B),
        ("70B/draft-1B", B),
    ],
)
def test_the_model_s_size_is_told_from_others_beside_it(name: str, total: int) -> None:
    assert read(name).total_parameters == total


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("HuggingFaceH4/zephyr-orpo-141b-A35b-v0.1", 141 * B, 35 * B),
        ("Qwen/Qwen3-235B-A22B", 235 * B, 22 * B),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 30 * B, 3 * B),
        ("ibm-granite/granite-3.1-3b-a800m-instruct", 3 * B, 800 * M),
        ("SmallThinker-21BA3B", 21 * B, 3 * B),
        ("allenai/OLMoE-1B-7B-0924", 7 * B, B),
        ("Qwen/Qwen1.5-MoE-A2.7B", None, 2_700 * M),
    ],
)
def test_active_parameters_are_told_from_all(name: str, total: int | None, active: int) -> None:
    reading = read(name)
    assert reading.total_parameters == total
    assert reading.active_parameters == active
    assert "speed" in reading.sentence
    assert "memory" in reading.sentence


def test_experts_are_multiplied_and_the_sentence_says_that_this_is_too_much() -> None:
    reading = read("4x3B")
    assert reading.experts == 4
    assert reading.expert_parameters == 3 * B
    assert reading.total_parameters == 12 * B
    assert reading.active_parameters is None
    assert "12B; it has fewer" in reading.sentence


@pytest.mark.parametrize(
    ("name", "literally", "total", "active"),
    [
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "56B", "46.7B", "12.9B"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "176B", "141B", "39B"),
        ("mixtral-8\u00d77b", "56B", "46.7B", "12.9B"),
    ],
)
def test_of_mixtral_the_true_sizes_are_known(
    name: str, literally: str, total: str, active: str
) -> None:
    sentence = read(name).sentence
    assert f"literally that is {literally}" in sentence
    assert f"Mixtral has {total} in all, of which one token needs {active}." in sentence


def test_another_mixture_of_that_size_is_not_taken_for_mixtral() -> None:
    assert "46.7B" not in read("mergers/Beyonder-8x7B").sentence


def test_active_parameters_and_experts_without_a_total() -> None:
    reading = read("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    assert reading.active_parameters == 17 * B
    assert reading.experts == 16
    assert reading.total_parameters is None


def test_effective_parameters_are_not_all_there_are() -> None:
    reading = read("google/gemma-3n-E4B-it")
    assert reading.is_effective
    assert reading.total_parameters == 4 * B
    assert "more in all" in reading.sentence


@reproducible
@given(st.text())
def test_any_text_is_read_without_an_error(name: str) -> None:
    reading = read_name(name)
    assert reading is None or reading.sentence.endswith(".")


# The characters that notations are made of, so that most examples come close to one.
@reproducible
@given(st.text("0123456789.xX\u00d7_-/ABEMTabemtk", max_size=30))
def test_what_is_read_is_never_nothing(name: str) -> None:
    reading = read_name(name)
    if reading is not None:
        assert reading.total_parameters or reading.active_parameters
        assert (reading.total_parameters or 10**18) >= (reading.active_parameters or 0)


@reproducible
@given(SIZES)
def test_every_size_is_read_back(size: str) -> None:
    assert read(f"owner/some-{size}-chat").total_parameters == parameters(size)


@reproducible
@given(SIZES, SIZES)
def test_every_pair_is_read_back(one: str, other: str) -> None:
    active, total = sorted([one, other], key=parameters)
    reading = read(f"owner/some-{total}-A{active}-chat")
    assert reading.total_parameters == parameters(total)
    assert reading.active_parameters == parameters(active)


@reproducible
@given(st.integers(1, 999), SIZES)
def test_every_number_of_experts_is_read_back(experts: int, size: str) -> None:
    reading = read(f"owner/some-{experts}x{size}")
    assert reading.experts == experts
    assert reading.total_parameters == experts * parameters(size)

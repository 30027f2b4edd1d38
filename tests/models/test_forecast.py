"""Memory, verdicts and speeds of models that are values, on machines that are values."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.models.architecture import Architecture, CacheLayers
from chat_ui.models.forecast import (
    Forecast,
    PrecisionForecast,
    caveats,
    forecast,
    overhead_bytes,
    what_fits_sentence,
)
from chat_ui.models.hardware import Machine, PrecisionSpeed
from chat_ui.models.weight_bytes import weight_bytes

GB: Final = 10**9
# A billion numbers: 800 million in Linears, a head of 100 million, as many embeddings.
MODEL: Final = Architecture(
    model_type="llama",
    dtype="bfloat16",
    total_parameters=GB,
    active_parameters=GB,
    quantizable_parameters=800_000_000,
    quantizable_modules=100,
    quantizable_rows=200_000,
    active_quantizable_parameters=800_000_000,
    active_left_parameters=100_000_000,
    layers=20,
    vocabulary=50_000,
    cache=(CacheLayers(20, 1000),),
    window_tokens=8192,
    left_linear_parameters=100_000_000,
)
# The same with experts, of which a token needs a tenth, and which are no Linears.
MIXTURE: Final = replace(
    MODEL,
    active_parameters=280_000_000,
    quantizable_parameters=30_000_000,
    active_quantizable_parameters=30_000_000,
    active_left_parameters=180_000_000,
    is_mixture=True,
)
FAST: Final = PrecisionSpeed(True, "", 10 * GB, 0.001, 0.002, 9e11)
MACHINE: Final = Machine("cpu", "a processor", 8 * GB, 20 * GB, {"bfloat16": FAST, "4bit": FAST})


def of(
    precision: str, architecture: Architecture = MODEL, machine: Machine = MACHINE, **options: Any
) -> PrecisionForecast:
    return forecast(architecture, machine, **options).precisions[precision]


def test_weights_in_a_dtype_are_all_left_alone() -> None:
    assert of("float32").weight_bytes == of("float32").unquantized_bytes == 4 * GB
    assert of("bfloat16").weight_bytes == of("bfloat16").unquantized_bytes == 2 * GB


def test_quantized_weights_are_smaller_and_the_rest_is_not() -> None:
    assert of("8bit").unquantized_bytes == of("4bit").unquantized_bytes == 400_000_000
    assert of("8bit").weight_bytes == 1_200_000_000
    assert of("4bit").weight_bytes == 800_000_000


def test_scales_are_counted_where_memory_is() -> None:
    def beside(precision: str) -> int:
        one = of(precision)
        return (
            one.total_bytes
            - one.weight_bytes
            - one.kv_cache_bytes
            - overhead_bytes(MODEL, precision)
        )

    assert beside("bfloat16") == 0
    assert beside("8bit") == 4 * 200_000
    assert beside("4bit-nf4") == pytest.approx(800e6 * 32 / 64 / 8)
    assert beside("4bit") == pytest.approx(800e6 * (8 / 64 + 32 / (64 * 256)) / 8)


def test_our_own_8_bit_takes_the_head_too() -> None:
    assert of("8bit-cpu").weight_bytes == 900_000_000 + 200_000_000
    # A head that is the embeddings is copied, and they stay.
    tied = replace(MODEL, total_parameters=900_000_000, is_tied=True)
    assert of("8bit-cpu", tied).weight_bytes == 900_000_000 + 200_000_000
    assert of("8bit-cpu", tied).unquantized_bytes == 200_000_000


def test_only_a_cpu_has_the_precision_that_is_for_one() -> None:
    gpu = forecast(MODEL, replace(MACHINE, kind="cuda"))
    assert set(forecast(MODEL, MACHINE).precisions) - set(gpu.precisions) == {"8bit-cpu"}
    assert {"float32", "bfloat16", "8bit", "4bit"} < set(gpu.precisions)


def test_full_is_the_checkpoint_s_own_dtype() -> None:
    assert forecast(MODEL, MACHINE).full == "bfloat16"
    half = forecast(replace(MODEL, dtype="float16"), MACHINE)
    assert half.full == "float16"
    assert half.precisions["float16"] == half.precisions["bfloat16"]


def test_the_cache_grows_with_the_context_up_to_the_window() -> None:
    assert forecast(MODEL, MACHINE).context_tokens == 4096
    assert of("bfloat16", context_tokens=1000).kv_cache_bytes == 2 * 20 * 1000 * 1000
    assert of("float32", context_tokens=1000).kv_cache_bytes == 4 * 20 * 1000 * 1000
    assert forecast(MODEL, MACHINE, context_tokens=10**6).context_tokens == 8192
    assert forecast(MODEL, MACHINE, context_tokens=-5).context_tokens == 1


def test_a_sliding_window_and_a_state_do_not_grow() -> None:
    model = replace(MODEL, cache=(CacheLayers(2, 10, 128), CacheLayers(3, 0, None, 7)))
    short, long = (of("bfloat16", model, context_tokens=n).kv_cache_bytes for n in (100, 5000))
    assert short == 2 * (2 * 10 * 100 + 3 * 7)
    assert long == 2 * (2 * 10 * 128 + 3 * 7)


def test_verdicts() -> None:
    needed = max(of("bfloat16").total_bytes, of("bfloat16").load_peak_bytes)

    def verdict(free: int, leaving: int = 0) -> PrecisionForecast:
        return of("bfloat16", machine=replace(MACHINE, free_bytes=free), leaving_bytes=leaving)

    assert verdict(2 * needed).verdict == "fits"
    assert verdict(needed).verdict == "tight"
    assert verdict(needed).missing_bytes == 0
    assert verdict(needed - 5).verdict == "no"
    assert verdict(needed - 5).missing_bytes == 5
    assert verdict(needed - 5, leaving=5).verdict == "tight"


def test_speed_is_what_is_read_for_a_token() -> None:
    one = of("bfloat16", context_tokens=1000)
    seconds = 1.8e9 / 10e9 + one.kv_cache_bytes / 20e9 + 20 * 0.001 + 0.002
    assert one.tokens_per_s == pytest.approx(1 / seconds)
    assert one.prompt_tokens_per_s == pytest.approx(9e11 / (2 * 800e6))  # the head reads the last


def test_what_is_not_quantized_is_read_in_the_model_s_own_dtype() -> None:
    one = of("4bit", context_tokens=1000)
    seconds = 0.4e9 / 10e9 + 0.2e9 / 10e9 + one.kv_cache_bytes / 20e9 + 20 * 0.001 + 0.002
    assert one.tokens_per_s == pytest.approx(1 / seconds)


def test_a_mixture_is_as_fast_as_what_a_token_needs_of_it() -> None:
    dense, mixture = of("bfloat16").tokens_per_s, of("bfloat16", MIXTURE).tokens_per_s
    assert dense is not None
    assert mixture is not None
    assert mixture > 2 * dense
    assert of("bfloat16", MIXTURE).weight_bytes == of("bfloat16").weight_bytes


def test_what_was_learnt_here_corrects_the_speed() -> None:
    plain = forecast(MODEL, MACHINE).precisions["4bit"].tokens_per_s
    learnt = forecast(MODEL, MACHINE, corrections={"4bit": 0.5}).precisions["4bit"].tokens_per_s
    assert plain is not None
    assert learnt == pytest.approx(plain / 2)


@pytest.mark.parametrize(
    "speeds", [{}, {"bfloat16": PrecisionSpeed(False, "No.")}, {"bfloat16": PrecisionSpeed(True)}]
)
def test_an_unknown_speed_is_none(speeds: dict[str, PrecisionSpeed]) -> None:
    one = of("bfloat16", machine=replace(MACHINE, speeds=speeds))
    assert one.tokens_per_s is None
    assert one.prompt_tokens_per_s is None


def test_a_checkpoint_that_is_quantized_already_has_one_precision() -> None:
    stored = replace(MODEL, quantized_as="gptq", quantized_bits=4.15)
    made = forecast(stored, MACHINE)
    assert (list(made.precisions), made.full) == (["full"], "full")
    assert made.precisions["full"].weight_bytes == int(800e6 * 4.15 / 8) + 400_000_000


def test_one_that_becomes_16_bits_takes_16_bits() -> None:
    stored = replace(MODEL, quantized_as="mxfp4", quantized_bits=0.0)
    assert of("full", stored).weight_bytes == 2 * GB


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(KeyError):
        weight_bytes(MODEL, "3bit")


def on(free: float) -> Forecast:
    return forecast(MODEL, replace(MACHINE, free_bytes=int(free)))


def test_what_would_fit_is_a_sentence() -> None:
    assert what_fits_sentence(on(8e9)) == ""
    assert "No precision fits" in what_fits_sentence(on(1e9))
    assert "are missing" in what_fits_sentence(on(1e9))
    gpu = forecast(MODEL, replace(MACHINE, kind="cuda", free_bytes=2 * GB))
    assert gpu.precisions["bfloat16"].verdict == "no"
    assert what_fits_sentence(gpu).startswith(("8-bit", "4-bit"))


def test_it_says_what_a_precision_does_not_reach() -> None:
    assert caveats(MODEL, "4bit") == ()
    assert caveats(MODEL, "bfloat16") == ()
    (said,) = caveats(MIXTURE, "4bit")
    assert said == ("4-bit reaches only 3% of this model's weights: its experts stay in bfloat16.")


COUNTS = st.integers(0, 10**13)


@given(COUNTS, COUNTS, st.integers(0, 10**12), st.integers(-(10**9), 10**9))
def test_more_context_and_less_memory_never_make_it_fit_better(
    quantizable: int, left: int, free: int, context: int
) -> None:
    model = replace(
        MODEL,
        total_parameters=quantizable + left + 1,
        quantizable_parameters=quantizable,
        left_linear_parameters=0,
    )
    order = ["no", "tight", "fits"]
    less = forecast(model, replace(MACHINE, free_bytes=free), context_tokens=context)
    more = forecast(model, replace(MACHINE, free_bytes=2 * free + 1), context_tokens=context - 1)
    for name, one in less.precisions.items():
        other = more.precisions[name]
        assert order.index(one.verdict) <= order.index(other.verdict)
        assert one.total_bytes >= other.total_bytes
        assert 0 <= one.unquantized_bytes <= one.weight_bytes < one.total_bytes
        assert (one.missing_bytes > 0) == (one.verdict == "no")


@pytest.mark.parametrize(
    ("vocabulary", "measured"), [(49_152, 42e6), (151_936, 96e6)], ids=["135M", "0.6B"]
)
def test_what_runs_beside_the_weights_was_measured(vocabulary: int, measured: float) -> None:
    model = replace(MODEL, vocabulary=vocabulary)
    assert overhead_bytes(model, "bfloat16") == pytest.approx(measured, rel=0.1)


def test_a_precision_that_leaves_most_of_a_mixture_alone_is_not_what_its_name_says() -> None:
    assert of("4bit", MIXTURE).reach == pytest.approx(30 / 800)  # without embeddings and head
    assert not of("4bit", MIXTURE).is_honest
    assert of("bfloat16", MIXTURE).is_honest
    assert of("4bit", MODEL).is_honest


def test_what_can_t_be_loaded_is_no_advice() -> None:
    poor = replace(MACHINE, free_bytes=GB // 10)
    said = what_fits_sentence(forecast(MIXTURE, poor))
    assert said.startswith("No precision fits")
    assert f"at least {of('bfloat16', MIXTURE, poor).missing_bytes / 1e9:.1f} GB" in said

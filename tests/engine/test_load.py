"""Loading real (tiny) checkpoints: which engine, what is true of it, and every way it can fail."""

import gc
import json
import logging
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import integrations

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine import load, native, weights
from chat_ui.engine.dtype import float32_speedup
from chat_ui.engine.loaded import LoadedModel, run_on_own_thread
from chat_ui.engine.protocol import Engine, Failed, Finished, Request
from chat_ui.errors import BadCheckpointError, EngineError, ModelError, PromptTooLongError
from chat_ui.models import memory
from chat_ui.models.quantization import Precision
from tests.contract.harness import Reader
from tests.engine import random_models

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[2]

# Loading never measures in these tests, unless one says so.
SLOWER, FASTER = (lambda model: 0.7), (lambda model: 1.44)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_models.write(tmp_path_factory.mktemp("models") / "llama", dtype="bfloat16")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(folder, tmp_path / "damaged"))


def load_model(
    folder: Path,
    precision: Precision = "full",
    speedup: Callable[[Any], float] = SLOWER,
    anyway: bool = False,
) -> LoadedModel:
    spec = random_models.spec(folder)
    return load.load_model(spec, precision, anyway=anyway, speedup=speedup)


def load_engine(folder: Path, precision: Precision = "full") -> Engine:
    return load.load_engine(random_models.spec(folder), precision, speedup=SLOWER)


def answer(engine: Engine, **config: Any) -> Reader:
    reader = Reader()
    settings: dict[str, Any] = {"temperature": 0.0, "seed": 1, "max_new_tokens": 5} | config
    prompt = engine.encode([PromptMessage("user", "Hello")])
    engine.start(Request(prompt, GenerationConfig(**settings)), reader)
    reader.wait()
    return reader


@pytest.mark.parametrize(
    ("variant", "kind"), [("llama", "batched"), ("lfm2", "single"), ("mamba2", "single")]
)
def test_the_engine_that_can_run_it_answers_and_frees_it(
    variant: str, kind: str, tmp_path: Path
) -> None:
    engine = load_engine(random_models.write(tmp_path / variant, variant))
    model = weakref.ref(engine._loaded.model)  # type: ignore[attr-defined]
    reader = answer(engine)
    assert engine.facts.kind == kind
    assert isinstance(reader.ends[0], Finished)
    assert 1 <= reader.tokens <= 5
    engine.close()
    assert model() is None
    assert engine.facts.parameters > 0
    assert isinstance(answer(engine).ends[0], Failed)


def test_facts_are_those_of_the_files(folder: Path) -> None:
    facts = load_model(folder).facts
    weights = (folder / "model.safetensors").stat().st_size
    assert facts.precision == "full"
    assert (facts.dtype, facts.dtype_reason) == ("bfloat16", "")
    assert facts.device == "cpu"
    assert facts.window_tokens == random_models.WINDOW_TOKENS
    assert facts.parameters * 2 < weights < facts.parameters * 2 + 10_000
    assert 0 <= facts.weight_bytes - facts.parameters * 2 < 1000  # a buffer for the positions


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own list of mapped files")
@pytest.mark.parametrize("precision", ["8bit", "4bit", "8bit-cpu"])
def test_a_quantized_model_keeps_no_file_mapped(
    copied: Path, precision: Precision, no_kernels: None
) -> None:
    """Its embeddings alone kept all of the checkpoint in memory."""
    loaded = load_model(copied, precision)
    maps = [one.path for one in psutil.Process().memory_maps()]
    assert not [path for path in maps if path.startswith(str(copied))]
    embeddings, head = (
        getattr(loaded.model, name)().weight
        for name in ("get_input_embeddings", "get_output_embeddings")
    )
    stored = load_file(copied / "model.safetensors")
    assert torch.equal(embeddings, stored["model.embed_tokens.weight"])
    if precision != "8bit-cpu":  # which quantizes the head, too
        assert torch.equal(head, stored["lm_head.weight"])


def test_it_is_a_pipeline_that_transformers_itself_can_run(folder: Path) -> None:
    loaded = load_model(folder)
    spoken = run_on_own_thread(
        lambda: loaded.pipeline([{"role": "user", "content": "Hi"}], max_new_tokens=2)
    )
    assert spoken[0]["generated_text"][-1]["role"] == "assistant"


def test_the_model_s_own_sampling_defaults_are_gone(copied: Path) -> None:
    (copied / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 0.1, "repetition_penalty": 3.0, "eos_token_id": [0, 2]}'
    )
    loaded = load_model(copied)
    config = loaded.model.generation_config
    assert (config.do_sample, config.temperature, config.repetition_penalty) == (None, None, None)
    assert loaded.eos_token_ids == (0, 2)


def test_the_template_s_end_of_turn_ends_an_answer(copied: Path) -> None:
    """Where generation_config.json and the tokenizer only know another token (2 is <|im_end|>)."""
    (copied / "generation_config.json").write_text('{"eos_token_id": 0}')
    tokenizer = random_models.tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(str(copied))
    assert load_model(copied).eos_token_ids == (0, 2)


@pytest.mark.parametrize("variant", ["llama", "lfm2"])
def test_both_engines_switch_thinking_and_know_how_it_begins(variant: str, tmp_path: Path) -> None:
    opening = (
        "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}"
    )
    source = random_models.CHATML.removesuffix("{% endif %}") + opening + "{% endif %}"
    engine = load_engine(random_models.write(tmp_path / "m", variant, chat_template=source))
    try:
        assert engine.facts.thinking.has_switch
        assert engine.facts.thinking.opening_with(None) == "<think>\n"
        assert engine.facts.thinking.opening_with(False) == ""
        question = [PromptMessage("user", "Hello")]
        off, on = (engine.encode(question, thinking) for thinking in (False, True))
        assert on == engine.encode(question)
        assert on[: len(off)] == off != on
    finally:
        engine.close()


def test_the_window_is_the_smaller_of_config_and_tokenizer(copied: Path) -> None:
    random_models.change_config(copied, max_position_embeddings=512)
    assert load_model(copied).facts.window_tokens == 512


def test_without_any_limit_the_window_is_a_sane_one(tmp_path: Path) -> None:
    folder = random_models.write(tmp_path / "mamba2", "mamba2")
    tokenizer = random_models.tokenizer()
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(str(folder))
    random_models.change_config(folder, max_position_embeddings=None)
    assert load_model(folder).facts.window_tokens == 4096


# The dtype ------------------------------------------------------------------------------------


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a compiler: with kernels of ours, a model keeps its dtype."""
    monkeypatch.setattr(native, "kernels", lambda: None)


def test_float32_where_it_is_faster_says_so(folder: Path, no_kernels: None) -> None:
    slow, fast = load_model(folder), load_model(folder, speedup=FASTER)
    assert fast.facts.dtype == "float32"
    assert fast.facts.dtype_reason == (
        "float32: on this CPU it answers 1.4 times as fast as bfloat16."
    )
    assert fast.facts.weight_bytes > 1.9 * slow.facts.weight_bytes
    both = zip(slow.model.parameters(), fast.model.parameters(), strict=True)
    assert all(torch.equal(a.float(), b) for a, b in both)  # converting is exact


def test_float32_only_where_memory_allows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, no_kernels: None
) -> None:
    def never(model: Any) -> float:
        raise AssertionError

    monkeypatch.setattr(load, "refuse", lambda found, precision, *, anyway: None)
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 1000)
    assert load_model(folder, speedup=never).facts.dtype == "bfloat16"


def test_a_float32_checkpoint_is_not_measured(tmp_path: Path, no_kernels: None) -> None:
    def never(model: Any) -> float:
        raise AssertionError

    folder = random_models.write(tmp_path / "m", dtype="float32")
    assert load_model(folder, speedup=never).facts.dtype == "float32"


def test_the_probe_measures_both_and_leaves_the_threads_as_they_were(folder: Path) -> None:
    threads = torch.get_num_threads()
    assert 0.01 < float32_speedup(load_model(folder).model) < 100
    assert torch.get_num_threads() == threads
    assert float32_speedup(torch.nn.Embedding(2, 2)) == 1.0


# Quantized ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "linear"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")]
)
def test_quantized_means_quantized(folder: Path, precision: Precision, linear: str) -> None:
    loaded = load_model(folder, precision)
    layers = [m for m in loaded.model.modules() if type(m).__name__ == linear]
    assert len(layers) == 2 * 7
    assert loaded.facts.precision == precision
    assert loaded.facts.weight_bytes < 0.8 * loaded.facts.parameters * 2


def test_4bit_is_nf4_twice_quantized_and_computes_in_bfloat16(folder: Path) -> None:
    config = load_model(folder, "4bit").model.config.quantization_config
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


def test_an_8bit_model_answers_without_a_warning_per_token(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_engine(folder, "8bit")
    try:
        with caplog.at_level(logging.WARNING):
            assert answer(engine).tokens >= 1
        assert not caplog.records
    finally:
        engine.close()


def test_quantization_that_the_library_ignores_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        integrations, "replace_with_bnb_linear", lambda model, *args, **kwargs: model
    )
    with pytest.raises(ModelError, match="4-bit reaches only 0%"):
        load_model(folder, "4bit")


def test_bitsandbytes_that_can_t_be_used_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(raise_exception: bool = False) -> bool:
        raise RuntimeError("None of the available devices are supported by bitsandbytes\nmore")

    monkeypatch.setattr(integrations, "validate_bnb_backend_availability", refuse)
    with pytest.raises(ModelError, match="bitsandbytes can't be used") as caught:
        load_model(folder, "4bit")
    assert "more" not in str(caught.value)
    assert "Full" in caught.value.next_step


# What goes wrong ------------------------------------------------------------------------------


CANARY = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
"""


def test_code_that_transformers_needs_no_more_never_runs(copied: Path) -> None:
    (copied / "modeling_warp.py").write_text(CANARY)
    (copied / "configuration_warp.py").write_text(CANARY)
    own = {
        "AutoConfig": "configuration_warp.WarpConfig",
        "AutoModelForCausalLM": "modeling_warp.Warp",
    }
    random_models.change_config(copied, auto_map=own)
    loaded = load_model(copied)
    assert type(loaded.model).__module__.startswith("transformers.")
    assert not hasattr(loaded.model.config, "auto_map")
    assert not list(copied.glob("**/ran"))


def test_the_library_chooses_the_attention_not_the_config(copied: Path) -> None:
    """The config's may not be installed here, as flash attention."""
    random_models.change_config(copied, _attn_implementation="flash_attention_2")
    assert load_model(copied).model.config._attn_implementation == "sdpa"


def remove_tensors(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "layers.1.mlp" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unknown architecture": (
        lambda folder: random_models.change_config(folder, model_type="warp9"),
        "doesn't know the architecture 'warp9'",
    ),
    "code of its own": (
        lambda folder: random_models.change_config(
            folder, architectures=["WarpForCausalLM"], auto_map={"AutoModelForCausalLM": "m.Warp"}
        ),
        r"asks for code of its own \(auto_map\), which is never run",
    ),
    "code for generating": (
        lambda folder: (folder / "generation_config.json").write_text(
            '{"custom_generate": "somebody/code"}'
        ),
        r"generation_config\.json sets custom_generate",
    ),
    "a kernel of the Hub's": (
        lambda folder: random_models.change_config(folder, _attn_implementation="somebody/kernel"),
        "asks for the kernel 'somebody/kernel'",
    ),
    "unknown dtype": (
        lambda folder: random_models.change_config(folder, dtype="load"),
        "asks for the dtype 'load'",
    ),
    "not a text model": (
        lambda folder: random_models.change_config(folder, model_type="vit", architectures=None),
        "is not a model that writes text",
    ),
    "other sizes": (
        lambda folder: random_models.change_config(folder, intermediate_size=64),
        "don't match its config.json",
    ),
    "missing tensors": (remove_tensors, r"layers\.1\.mlp\.down_proj\.weight is missing \(3 in all"),
    "broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        "The tokenizer in damaged can't be read",
    ),
    "no template": (
        lambda folder: (folder / "chat_template.jinja").unlink(),
        "not a chat model",
    ),
    "nonsense in config": (
        lambda folder: random_models.change_config(folder, num_attention_heads="many"),
        "could not be loaded",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_goes_wrong_is_a_sentence_with_a_next_step(name: str, copied: Path) -> None:
    damage, expected = DAMAGES[name]
    damage(copied)
    with pytest.raises(ModelError, match=expected) as caught:
        load_model(copied)
    assert caught.value.next_step.endswith(".")
    assert str(copied) not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_names_the_levers(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(weights, "read", fail)
    with pytest.raises(ModelError, match="not enough memory for llama in Full") as caught:
        load_model(folder)
    assert "4-bit" in caught.value.next_step


def test_what_can_t_fit_is_refused_before_it_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda kind: 10**8)
    with pytest.raises(ModelError, match=r"takes about 0\.2 GB of memory; 0\.1 GB are free"):
        load_model(folder)
    assert load_model(folder, anyway=True).facts.parameters > 0


def test_weights_of_a_far_smaller_model_are_refused_before_the_rest_is_made_up(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 40}))
    monkeypatch.setattr(weights, "read", None)  # which is not called
    with pytest.raises(BadCheckpointError, match="don't match its config"):
        load_model(copied)


def test_a_failed_load_keeps_nothing_of_the_model(folder: Path, no_kernels: None) -> None:
    """Even while its error is alive: the model before it may be loaded again meanwhile."""
    models = []

    def fail(model: Any) -> float:
        models.append(weakref.ref(model))
        raise RuntimeError

    with pytest.raises(ModelError) as caught:
        load_model(folder, speedup=fail)
    gc.collect()
    assert caught.value.__cause__ is not None
    assert models[0]() is None


# Threads and memory ---------------------------------------------------------------------------


def test_loading_leaves_no_thread_behind(folder: Path) -> None:
    before = set(threading.enumerate())
    load_model(folder)
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert all("Monitor" in name or "tqdm" in name.lower() for name in left)


def test_an_error_on_its_own_thread_is_the_caller_s() -> None:
    assert run_on_own_thread(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        run_on_own_thread(lambda: 1 // 0)


RELEASE = """
import psutil, sys
from pathlib import Path
from chat_ui.engine.load import load_model
from chat_ui.engine.loaded import release, run_on_own_thread
from tests.engine import random_models

loaded = load_model(random_models.spec(Path(sys.argv[1])), "full", speedup=lambda model: 2.0)
weights, process = loaded.facts.weight_bytes, psutil.Process()
before = process.memory_info().rss
run_on_own_thread(lambda: release(loaded))
print((before - process.memory_info().rss) / weights)
"""


def test_release_gives_the_memory_back_to_the_system(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 2048}
    folder = random_models.write(tmp_path / "m", dtype="bfloat16", **sizes)
    # In a process of its own: in this one the model would lie in what other tests have freed.
    ended = subprocess.run(
        [sys.executable, "-c", RELEASE, str(folder)],
        cwd=ROOT, text=True, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(ended.stdout) > 0.7


# Limits of one answer -------------------------------------------------------------------------


def test_an_answer_is_limited_by_what_the_window_leaves(folder: Path) -> None:
    loaded = load_model(folder)
    window = loaded.facts.window_tokens
    config = GenerationConfig(max_new_tokens=100)
    assert loaded.token_limit(Request([1], config)) == 100
    assert loaded.token_limit(Request([1] * (window - 7), config)) == 7
    with pytest.raises(PromptTooLongError, match=f"holds {window:,}"):
        loaded.token_limit(Request([1] * window, config))
    with pytest.raises(EngineError, match="nothing to answer"):
        loaded.token_limit(Request([], config))


def test_weights_in_several_files(tmp_path: Path) -> None:
    folder = random_models.write(tmp_path / "m", shard_size="100KB")
    assert not (folder / "model.safetensors").exists()
    assert load_model(folder).facts.parameters == 123_200


def test_other_sizes_are_a_bad_checkpoint(copied: Path) -> None:
    random_models.change_config(copied, hidden_size=128)
    with pytest.raises(BadCheckpointError):
        load_model(copied)

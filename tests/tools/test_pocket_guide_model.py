"""Tests of the built-in model: its files, its tokenizer and what it answers."""

import itertools
import json
import struct
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tools.pocket_guide import ASSET_DIR, CONTEXT_TOKENS, PARAMETERS, VOCAB_SIZE
from tools.pocket_guide.conversations import conversations
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.material import load
from tools.pocket_guide.tokenizer import encode_conversation

pytestmark = pytest.mark.torch

CONVERSATION = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "What are you?"},
    {"role": "assistant", "content": "I am Pocket Guide."},
    {"role": "user", "content": "And who made you?"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(ASSET_DIR)


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    with (ASSET_DIR / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return dict(json.loads(file.read(length)))


# The exported files.


def test_all_files_exist_and_are_small() -> None:
    names = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    sizes = {path.name: path.stat().st_size for path in ASSET_DIR.iterdir()}
    assert set(sizes) == names
    assert max(sizes.values()) < 10_000_000


def test_parameters_are_few_and_in_bfloat16(header: dict[str, Any]) -> None:
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    count = 0
    for entry in tensors.values():
        assert entry["dtype"] == "BF16"
        product = 1
        for size in entry["shape"]:
            product *= size
        count += product
    assert count <= 4_900_000
    assert f"{count / 1e6:.1f} million" == PARAMETERS


def test_matrices_suit_quantizers(header: dict[str, Any]) -> None:
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    assert all(size % 64 == 0 for shape in shapes for size in shape)


def test_config_and_generation_config_agree(tokenizer: Any) -> None:
    config = json.loads((ASSET_DIR / "config.json").read_text())
    generation = json.loads((ASSET_DIR / "generation_config.json").read_text())
    assert config["max_position_embeddings"] == CONTEXT_TOKENS
    assert config["vocab_size"] == len(tokenizer) == VOCAB_SIZE
    assert tokenizer.eos_token == "<|im_end|>"
    assert generation["eos_token_id"] == tokenizer.eos_token_id
    assert generation["do_sample"] is True
    assert 0.3 <= generation["temperature"] <= 0.7


# Tokenizer and template.


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_tokenizer_round_trips_any_text(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_tokenizer_round_trips_emoji_and_other_scripts(tokenizer: Any) -> None:
    text = "naïve 🙂👩‍🚀 你好 привет\n\t  end"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_template_with_system_message(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\n Answer in one sentence.<|im_end|>\n"
        "<|im_start|>user\n What are you?<|im_end|>\n"
        "<|im_start|>assistant\nI am Pocket Guide.<|im_end|>\n"
        "<|im_start|>user\n And who made you?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_template_without_system_message_or_prompt(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CONVERSATION[1:2], tokenize=False)
    assert text == "<|im_start|>user\n What are you?<|im_end|>\n"


def test_a_word_has_the_same_tokens_at_the_start_of_a_message_as_in_an_answer(
    tokenizer: Any,
) -> None:
    told = [{"role": "user", "content": "Zelmira is my name"}]
    ids = tokenizer.apply_chat_template(told, return_dict=True)["input_ids"]
    said = tokenizer(" Zelmira", add_special_tokens=False)["input_ids"]
    assert any(ids[at : at + len(said)] == said for at in range(len(ids)))


def test_training_tokens_are_those_of_the_template(tokenizer: Any) -> None:
    corpus = Corpus(load(PARAMETERS), seed=1)
    for conversation in itertools.islice(conversations(corpus, 4), 50):
        messages = [{"role": role, "content": text} for role, text in conversation.messages]
        ids = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        ours, learn = encode_conversation(tokenizer.backend_tokenizer, conversation.messages)
        assert ours == ids
        learned = tokenizer.decode([token for token, take in zip(ours, learn, strict=True) if take])
        answers = [text for role, text in conversation.messages if role == "assistant"]
        assert learned == "".join(f"{text}<|im_end|>" for text in answers)


# The model.

QUESTIONS = [
    ("What are you?", ["Pocket Guide", PARAMETERS]),
    ("what is a chat model", ["language model", "conversation"]),
    ("What is a system message?", ["System prompt|model"]),
    ("How do I change the model?", ["Model panel"]),
    ("how much memory does an 8B model need in 4-bit?", ["4 GB"]),
    ("Why is decoding bound by memory bandwidth?", ["weight", "token"]),
    ("What are the five steps inside the pipeline?", ["Tokenize", "Decode"]),
    ("What is temperature?", ["random"]),
    ("how do i stop an answer", ["Stop", "Escape"]),
    ("Where is my history kept?", ["SQLite", "data folder"]),
    ("Does this app send my data anywhere?", ["machine that runs the app"]),
    ("Can it work offline?", ["built-in", "local folder"]),
    ("Show me a code example of loading a model with transformers", ["```python", "pipeline("]),
    ("show me a table of the four precisions", ["| 4-bit"]),
    ("What is the capital of France?", ["tiny", "Model panel"]),
]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(ASSET_DIR, dtype=torch.float32)


@pytest.fixture(scope="module")
def answers(model: Any) -> list[tuple[str, bool]]:
    left = AutoTokenizer.from_pretrained(ASSET_DIR, padding_side="left")
    chats = [[{"role": "user", "content": question}] for question, _ in QUESTIONS]
    inputs = left.apply_chat_template(
        chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=200)
    rows = output[:, inputs["input_ids"].shape[1] :]
    return [(left.decode(row, skip_special_tokens=True), left.eos_token_id in row) for row in rows]


@pytest.mark.parametrize("index", range(len(QUESTIONS)), ids=[text for text, _ in QUESTIONS])
def test_model_answers(answers: list[tuple[str, bool]], index: int) -> None:
    answer, ended = answers[index]
    assert has_keywords(answer, QUESTIONS[index][1]), answer
    assert ended


def test_plain_pipeline_answers_in_a_conversation() -> None:
    chat = pipeline("text-generation", model=str(ASSET_DIR), dtype=torch.float32)
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
    ]
    for question, word in (("What is temperature?", "random"), ("thanks", "welcome")):
        reply = chat(messages, do_sample=False)[0]["generated_text"]
        messages = [*reply, {"role": "user", "content": question}]
        result = chat(messages, do_sample=False)[0]["generated_text"][-1]["content"]
        assert word in result

"""An answer's details: all that is known, and nothing that isn't."""

from dataclasses import replace

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.ui.details import details, facts, settings_line
from tests.ui.conftest import conversation_of

QUESTION, ANSWER = conversation_of("Hello", "Hi").messages


def test_a_question_has_none():
    assert details(QUESTION) == []


def test_an_answer_edited_by_hand_names_no_model():
    assert details(ANSWER) == [
        ("Model", "Not known: edited by hand, or imported"),
    ]


def test_an_answer_tells_its_model_settings_and_numbers():
    numbers = Numbers(
        model="Qwen3 0.6B",
        precision="4bit",
        prompt_tokens=1_874,
        reused_tokens=1_820,
        completion_tokens=1,
        first_token_s=0.123,
        decode_tokens_per_s=18.25,
        seed=7,
    )
    config = GenerationConfig(temperature=0.5, top_k=40, stop=("\n",), seed=7)
    answer = replace(ANSWER, numbers=numbers, recipe=Recipe("Be kind.", config, "Well, "))
    told = dict(details(answer))
    assert told == {
        "Model": "Qwen3 0.6B",
        "Precision": "4-bit",
        "Prompt": "1,874 tokens",
        "Reused from a cache": "1,820 tokens",
        "Answer": "1 token",
        "First token after": "0.12 s",
        "Speed": told["Speed"],
        "Temperature": "0.5",
        "Top-p": "0.95",
        "Top-k": "40",
        "Max new tokens": "512",
        "Stop strings": "'\\n'",
        "Seed": "7",
        "System prompt": "Be kind.",
        "Given to begin with": "6 characters",
    }
    assert told["Speed"].endswith(" tokens/s")


def test_an_answer_of_an_older_version_still_tells_its_seed():
    answer = replace(ANSWER, numbers=Numbers(model="Old", seed=3))
    assert dict(details(answer))["Seed"] == "3"


def test_lines_tell_the_most_important_and_leave_out_what_is_not_known():
    numbers = Numbers(model="Qwen3 0.6B", precision="full", completion_tokens=57, seed=3)
    answer = replace(ANSWER, numbers=numbers)
    assert facts(details(answer)) == "Qwen3 0.6B · Full · 57 tokens"
    assert settings_line(details(answer)) == "Seed 3"
    config = GenerationConfig(temperature=0, seed=3)
    answer = replace(answer, recipe=Recipe("", config))
    assert settings_line(details(answer)) == "Temperature 0 · Top-p 0.95 · Seed 3"


def test_an_answer_that_failed_before_its_model_was_there_is_not_called_edited():
    for answer in (
        replace(ANSWER, state="failed", recipe=Recipe("", GenerationConfig())),
        replace(ANSWER, state="writing"),
    ):
        assert "Model" not in dict(details(answer))

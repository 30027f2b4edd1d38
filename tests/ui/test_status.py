"""The page's sentences."""

from dataclasses import replace

import pytest

from chat_ui.chat.messages import Message, Numbers
from chat_ui.service import ModelStatus, ReplySnapshot
from chat_ui.ui import status
from tests.ui.conftest import THEN, conversation_of

NUMBERS = Numbers(completion_tokens=57, first_token_s=0.1234, decode_tokens_per_s=184.4)


def answer(state: str, numbers: Numbers = NUMBERS, error: str | None = None) -> Message:
    return Message("m1", "m0", "assistant", "Hi", THEN, state, error, numbers)  # type: ignore[arg-type]


def shown(message: Message) -> status.Status:
    conversation = conversation_of("Hello", "Hi")
    question = conversation.messages[0]
    return status.conversation_status(replace(conversation, messages=(question, message)), 0)


def test_a_finished_answer_shows_its_numbers():
    now = shown(answer("complete"))
    assert now["text"] == "First token after 0.12 s · 184 tokens/s · 57 tokens"
    assert now["notes"] == []
    assert now["regenerate"] is True
    assert now["busy"] is False


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("stopped", "Stopped."),
        ("length", "The answer reached the limit of 57 new tokens."),
        ("interrupted", "The server ended while this was written; press Regenerate."),
        ("writing", "The server ended while this was written; press Regenerate."),
    ],
)
def test_an_answer_that_did_not_just_end_says_so_first(state, sentence):
    assert shown(answer(state))["text"].startswith(f"{sentence} First token after")


def test_a_failed_answer_says_why():
    assert shown(answer("failed", Numbers(), "No memory. Use a smaller model."))["text"] == (
        "No memory. Use a smaller model."
    )


def test_numbers_that_are_not_known_are_left_out():
    assert shown(answer("complete", Numbers()))["text"] == ""
    assert shown(answer("complete", Numbers(completion_tokens=1)))["text"] == "1 token"


@pytest.mark.parametrize(("per_s", "text"), [(0.26, "0.3"), (9.94, "9.9"), (2345.6, "2346")])
def test_a_rate_has_the_digits_that_mean_something(per_s, text):
    assert f"{text} tokens/s" in status.measured(Numbers(decode_tokens_per_s=per_s))


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (1, "The oldest message no longer fits this model's window; it did not see it."),
        (4, "The oldest 4 messages no longer fit this model's window; it did not see them."),
    ],
)
def test_dropped_messages_are_told(count, sentence):
    assert shown(answer("complete", Numbers(dropped_messages=count)))["notes"] == [sentence]


def test_a_warning_beside_a_good_answer_is_told():
    assert shown(answer("complete", error="It could not be stored."))["notes"] == [
        "It could not be stored."
    ]


def test_while_text_comes_the_announced_text_stays_the_same():
    conversation = conversation_of("Hello", "")
    early = ReplySnapshot(1, "writing", "a", "writing", None, Numbers(completion_tokens=1))
    late = ReplySnapshot(9, "writing", "a b", "writing", None, NUMBERS)
    one, two = (
        status.writing_status(conversation, 0, now, "Pocket Guide") for now in (early, late)
    )
    assert one["text"] == two["text"] == "Writing…"
    assert (one["live"], two["live"]) == ("1 token", "57 tokens · 184 tokens/s")
    assert one["busy"] is True
    assert one["regenerate"] is False


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        ("queued", "Waiting for its turn…"),
        ("loading", "Loading Pocket Guide…"),
        ("reading", "Reading the prompt…"),
    ],
)
def test_what_comes_before_the_first_word_has_a_name(phase, text):
    now = ReplySnapshot(0, phase, "", "writing", None, Numbers())
    assert (
        status.writing_status(conversation_of("Hello", ""), 0, now, "Pocket Guide")["text"] == text
    )


def test_the_model_line_names_model_precision_and_dtype():
    ready = ModelStatus(7, "ready", "x", "Tiny (4M)", "full", "bfloat16", "Kept as it came.")
    line = status.model_line(ready)
    assert (line["label"], line["facts"]) == ("Tiny (4M)", "Full precision · bfloat16")
    assert (line["state"], line["note"], line["is_settled"]) == ("Ready", "Kept as it came.", True)
    loading = replace(ready, phase="loading", precision="4bit", note="Loading it…", dtype=None)
    line = status.model_line(loading)
    assert (line["label"], line["facts"]) == ("Tiny (4M)", "4-bit")
    assert (line["state"], line["note"], line["is_settled"]) == ("Loading it…", "", False)


def test_a_failed_change_stays_readable():
    failed = ModelStatus(7, "ready", "x", "Tiny", "full", "float32", error="It does not fit.")
    assert status.model_line(failed)["error"] == "It does not fit."

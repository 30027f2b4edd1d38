"""The page's sentences."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chat_ui.chat.messages import ConversationSummary, Message, Numbers
from chat_ui.service import Place, ReplySnapshot
from chat_ui.ui import status
from tests.ui.conftest import READY, THEN, conversation_of

NUMBERS = Numbers(completion_tokens=57, first_token_s=0.1234, decode_tokens_per_s=184.4)


def answer(state: str, numbers: Numbers = NUMBERS, error: str | None = None) -> Message:
    return Message("b1", "b0", "assistant", "Hi", THEN, state, error, numbers)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("state", ["stopped", "length", "interrupted", "failed"])
def test_how_an_answer_ended_is_not_told_below_the_chat_too(state):
    now = shown(answer(state, error="No memory. Use a smaller model."))
    assert now["text"] == shown(answer("complete"))["text"]
    assert now["notes"] == ([] if state == "failed" else ["No memory. Use a smaller model."])
    assert now["continue"] is True


def test_an_answer_that_lost_its_server_says_so():
    assert shown(answer("writing"))["text"] == "The server ended while this was written."


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


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(2, 15.4, False), "2 before you, about 15 s"),
        (Place(1, None, False), "1 before you"),
        (Place(0, 0.0, False), "You are next, about 1 s"),
        (Place(0, 200.0, True), "Waiting for another answer of yours to end, about 3 min"),
    ],
)
def test_who_waits_sees_the_place_and_a_guess(place, text):
    now = ReplySnapshot(1, "waiting", "", "writing", None, Numbers(), place)
    assert status.phase(now, READY) == text


def test_while_text_comes_the_announced_text_stays_the_same():
    conversation = conversation_of("Hello", "")
    early = ReplySnapshot(1, "writing", "a", "writing", None, Numbers(completion_tokens=1))
    late = ReplySnapshot(9, "writing", "a b", "writing", None, NUMBERS)
    one, two = (status.writing_status(conversation, 0, now, READY) for now in (early, late))
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
        ("thinking", "Thinking…"),
    ],
)
def test_what_comes_before_the_first_word_has_a_name(phase, text):
    now = ReplySnapshot(0, phase, "", "writing", None, Numbers())
    assert status.writing_status(conversation_of("Hello", ""), 0, now, READY)["text"] == text


def test_who_waits_for_a_model_reads_which():
    now = ReplySnapshot(0, "loading", "", "writing", None, Numbers())
    changing = replace(READY, phase="loading", note="Loading Other, 8-bit…")
    shown = status.writing_status(conversation_of("Hello", ""), 0, now, changing)
    assert shown["text"] == "Loading Other, 8-bit…"


def test_what_a_cache_held_is_told_while_it_reads_and_afterwards():
    numbers = Numbers(prompt_tokens=1874, reused_tokens=1820)
    reading = ReplySnapshot(1, "reading", "", "writing", None, numbers)
    now = status.writing_status(conversation_of("Hello", ""), 0, reading, READY)
    assert (now["text"], now["live"]) == (
        "Reading the prompt…",
        "reused 1,820 of 1,874 prompt tokens",
    )
    done = replace(NUMBERS, prompt_tokens=1874, reused_tokens=1820)
    assert shown(answer("complete", done))["text"] == (
        "First token after 0.12 s · 184 tokens/s · 57 tokens · reused 1,820 of 1,874 prompt tokens"
    )
    assert status.reused(replace(numbers, reused_tokens=0)) == ""


def test_assisted_generation_tells_its_share_and_the_speed_where_it_is_known():
    drafted = Numbers(drafted_tokens=60, accepted_tokens=41)
    assert status.measured(drafted) == "41 of 60 drafted tokens accepted"
    known = replace(drafted, assisted_speedup=1.42)
    assert status.measured(known) == "41 of 60 drafted tokens accepted, 1.4 times as fast"
    assert status.measured(Numbers(assisted_speedup=1.4)) == ""


@pytest.mark.parametrize(
    ("accepted", "drafted", "shown"), [(9, 15, False), (0, 40, False), (9, 16, True)]
)
def test_how_much_faster_is_said_only_where_drafts_can_tell(accepted, drafted, shown):
    numbers = Numbers(
        drafted_tokens=drafted, accepted_tokens=accepted, assisted_speedup=1.4, completion_tokens=5
    )
    assert ("1.4 times as fast" in status.measured(numbers)) == shown


def test_numbers_begin_with_a_capital_after_a_sentence():
    assert status.measured(Numbers(prompt_tokens=446, reused_tokens=384)).startswith("Reused 384")


def test_the_version_changes_with_messages_and_with_what_is_shown_of_them():
    conversation = conversation_of("Hello", "Hi")
    later = replace(conversation, updated_at=THEN + timedelta(seconds=1))
    switched = replace(conversation, head_id="b0")
    versions = {status.version(one) for one in (conversation, later, switched)}
    assert len(versions) == 3
    line = ConversationSummary("c1", "Title", THEN, head_id="b1")
    assert status.version(line) == status.version(conversation)


def test_a_temporary_chat_says_so_whatever_it_does():
    told = "Temporary chat: it is not stored."
    chat = conversation_of("Hello", "Hi", conversation_id="t1")
    assert status.conversation_status(chat, 0)["notes"] == [told]
    assert status.conversation_status(chat, 0)["temporary"] is True
    question = replace(chat, head_id="b0")
    assert status.conversation_status(question, 0)["notes"] == [told]
    now = ReplySnapshot(1, "writing", "a", "writing", None, Numbers(dropped_messages=1))
    assert status.writing_status(chat, 0, now, READY)["notes"] == [
        told,
        *status.dropped(now.numbers),
    ]
    warned = replace(chat, messages=(chat.messages[0], answer("complete", error="It is full.")))
    assert status.conversation_status(warned, 0)["notes"] == [told, "It is full."]
    kept = conversation_of("Hello", "Hi")
    assert status.conversation_status(kept, 0)["notes"] == []
    assert status.conversation_status(kept, 0)["temporary"] is False
    assert status.empty_status()["temporary"] is False

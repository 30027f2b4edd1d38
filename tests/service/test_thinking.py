"""A reply that begins with a thought: its phases, its duration, and what later turns are shown."""

from collections.abc import Callable

import pytest

from chat_ui.chat.messages import Numbers
from chat_ui.chat.reasoning import Split, split
from chat_ui.engine.fake import FakeLoader, Script
from chat_ui.engine.protocol import Delta, Finished, Started
from chat_ui.engine.thinking import ThinkingFacts
from chat_ui.service import ChatService, Reply, ReplyOptions, reply
from tests.service.conftest import ended

ANNA = "a" * 64


class Clock:
    """Stands in for `time` in the reply's module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(reply, "time", made)
    return made


def grow(growing: Reply, clock: Clock, *pieces: str) -> list[str]:
    """The phases after each piece; a second passes before every one."""
    phases: list[str] = []
    for piece in pieces:
        clock.now += 1.0
        growing.take(Delta(piece, 1))
        phases.append(growing.snapshot().phase)
    return phases


def test_the_thought_has_a_phase_and_a_duration(clock: Clock) -> None:
    growing = Reply("c", "m", Numbers(), 100.0)
    growing.take(Started(0))
    assert grow(growing, clock, "<think>", "Hm", ".") == ["thinking"] * 3
    assert growing.snapshot().numbers.thought_s == pytest.approx(2.0)  # so far
    assert grow(growing, clock, "</think>", "\n\n", "Yes", "!") == ["writing"] * 4
    growing.take(Finished("stop"))
    now = growing.snapshot()
    assert now.phase == "done"
    assert now.numbers.thought_s == pytest.approx(3.0)
    assert now.text == "<think>Hm.</think>\n\nYes!"


def test_a_second_thought_counts_too(clock: Clock) -> None:
    growing = Reply("c", "m", Numbers(), 100.0)
    assert grow(growing, clock, "<think>", "a</think>", "<think>", "b", "</think>", "Yes") == [
        "thinking", "writing", "thinking", "thinking", "writing", "writing",
    ]  # fmt: skip
    assert growing.snapshot().numbers.thought_s == pytest.approx(4.0)


def test_an_answer_without_a_thought_has_no_duration(clock: Clock) -> None:
    growing = Reply("c", "m", Numbers(), 100.0)
    assert grow(growing, clock, "Use ", "<think>", "x") == ["writing"] * 3
    assert growing.snapshot().numbers.thought_s is None


def test_what_the_prompt_opened_begins_the_text(clock: Clock) -> None:
    growing = Reply("c", "m", Numbers(), 100.0)
    growing.opens_with("<think>\n")
    assert growing.snapshot().text == ""  # nothing was written yet
    assert grow(growing, clock, "Hm", "</think>", "Yes") == ["thinking", "writing", "writing"]
    assert growing.snapshot().text == "<think>\nHm</think>Yes"


@pytest.mark.parametrize("given", ["<think>Hm", "Hm", "<think>\n\nHm"])
def test_what_the_prompt_opened_is_there_once(clock: Clock, given: str) -> None:
    growing = Reply("c", "m", Numbers(), 100.0)
    grow(growing, clock, given)
    growing.opens_with("<think>\n")
    grow(growing, clock, "m.</think>", "Yes")
    assert split(growing.snapshot().text) == Split("Hmm.", "Yes")
    assert growing.snapshot().text.count("<think>") == 1


@pytest.fixture
def thinker(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> Callable[[ThinkingFacts], ChatService]:
    def make(facts: ThinkingFacts) -> ChatService:
        loader.thinking = facts
        loader._answer = lambda prompt: Script(text="Let me see.</think>\n\nYes.")
        return make_service()

    return make


def test_the_text_says_by_itself_what_was_thought(thinker: Callable[..., ChatService]) -> None:
    service = thinker(ThinkingFacts(opening="<think>\n"))
    first = ended(service.reply(ANNA, None, "Well?", ReplyOptions()))
    stored = service.conversation(ANNA, first.conversation_id).path()[-1]
    assert split(stored.content).thought == "Let me see."
    assert split(stored.content).answer == "Yes."
    assert stored.numbers.thought_s is not None


def test_later_turns_are_not_shown_it(
    thinker: Callable[..., ChatService], loader: FakeLoader
) -> None:
    service = thinker(ThinkingFacts(opening="<think>\n"))
    first = ended(service.reply(ANNA, None, "Well?", ReplyOptions()))
    second = ended(service.reply(ANNA, first.conversation_id, "Sure?", ReplyOptions()))
    shown = "user:Well?\x1eassistant:Yes.\x1euser:Sure?\x1e"
    assert bytes(loader.engines[0].prompts[-1]).decode() == shown
    assert second.snapshot().numbers.prompt_tokens == len(shown)


@pytest.mark.parametrize(
    ("thinking", "opening", "line"),
    [
        (None, "", ""),
        (True, "<think>\n", "thinking:on\x1e"),
        (False, "", "thinking:off\x1e"),
    ],
)
def test_the_switch_reaches_the_template(
    thinker: Callable[..., ChatService],
    loader: FakeLoader,
    thinking: bool | None,
    opening: str,
    line: str,
) -> None:
    service = thinker(ThinkingFacts(opening_when_on="<think>\n", has_switch=True))
    reply = ended(service.reply(ANNA, None, "Well?", ReplyOptions(thinking=thinking)))
    assert service.model.has_thinking_switch
    assert bytes(loader.engines[0].prompts[-1]).decode() == f"{line}user:Well?\x1e"
    assert reply.snapshot().text.startswith(f"{opening}Let me see.")


def test_an_answer_that_goes_on_has_its_thought_once(thinker: Callable[..., ChatService]) -> None:
    service = thinker(ThinkingFacts(opening="<think>\n"))
    first = ended(service.reply(ANNA, None, "Well?", ReplyOptions()))
    went_on = ended(
        service.continue_answer(ANNA, first.conversation_id, first.message_id, ReplyOptions())
    )
    assert split(went_on.snapshot().text).thought == "Let me see."
    assert went_on.snapshot().text.count("<think>") == 1

"""The context meter: parts that sum to the prompt, what would be dropped, and what it costs."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.chat.context import fit
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message, PromptMessage, prompt_messages
from chat_ui.engine.fake import FakeEngine, FakeLoader, Script
from chat_ui.engine.template import ChatTemplate
from chat_ui.errors import EngineError, InvalidRequestError, NotFoundError, PromptTooLongError
from chat_ui.models.spec import BUILT_IN_ID, find
from chat_ui.service import ChatService, ReplyOptions
from chat_ui.service.context_meter import ContextMeter, ContextUse, reserve_tokens
from tests.engine import random_models
from tests.service.conftest import ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = GenerationConfig(max_new_tokens=100)


class CountingEngine(FakeEngine):
    """Notes how many messages were encoded, and may encode as a real template does."""

    def __init__(self, window_tokens: int = 100_000, template: ChatTemplate | None = None) -> None:
        super().__init__(find(BUILT_IN_ID), window_tokens=window_tokens)
        self.encoded: list[int] = []
        self._template = template

    def encode(self, messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        self.encoded.append(len(messages))
        if self._template is not None:
            return self._template.encode(messages, thinking)
        return super().encode(messages, thinking)


def path_of(contents: Sequence[str]) -> list[Message]:
    """A user's message and an answer by turns; an empty one is left out of the prompt."""
    return [
        Message(f"m{i}", f"m{i - 1}" if i else None, "assistant" if i % 2 else "user", text, NOW)
        for i, text in enumerate(contents)
    ]


def measure(
    engine: FakeEngine,
    path: Sequence[Message],
    draft: str,
    system_prompt: str = "",
    meter: ContextMeter | None = None,
) -> ContextUse:
    return (meter or ContextMeter()).use(
        engine, "c", path, draft, system_prompt=system_prompt, config=CONFIG
    )


def check(engine: FakeEngine, contents: Sequence[str], draft: str, system_prompt: str) -> None:
    """The meter says what sending the draft would come to."""
    path = path_of(contents)
    use = measure(engine, path, draft, system_prompt)
    question = Message("draft", None, "user", draft, NOW)
    try:
        fitted = fit(
            system_prompt,
            prompt_messages([*path, question]),
            count=lambda messages: len(engine.encode(messages)),
            window_tokens=engine.facts.window_tokens,
            reserve_tokens=reserve_tokens(CONFIG, engine.facts),
        )
    except PromptTooLongError:
        assert use.is_too_long
        return
    assert not use.is_too_long
    assert use.prompt_tokens == fitted.prompt_tokens
    assert use.dropped_messages == fitted.dropped
    assert min(use.system_tokens, use.history_tokens, use.draft_tokens) >= 0
    seen = fitted.messages[1:] if system_prompt.strip() else fitted.messages
    if use.first_message_id is None:
        assert seen == (PromptMessage("user", draft),)
    else:
        first = next(message for message in path if message.id == use.first_message_id)
        assert seen[0].content.startswith(first.content)
        assert len(prompt_messages(path[: path.index(first)])) == fitted.dropped


texts = st.text("ab é\n", max_size=30).filter(lambda text: not text or bool(text.strip()))


@given(
    st.lists(texts, max_size=9),
    texts.filter(bool),
    st.sampled_from(["", " ", "Be brief."]),
    st.integers(20, 500),
)
def test_the_parts_sum_to_the_prompt(contents, draft, system_prompt, window_tokens):
    check(CountingEngine(window_tokens), contents, draft, system_prompt)


TEMPLATES = {
    "chatml": random_models.CHATML,
    "folds the system prompt": random_models.RAISES_ON_SYSTEM,
}


@pytest.mark.torch
def test_what_joins_a_folded_system_prompt_is_not_counted_with_a_later_draft():
    template = ChatTemplate(random_models.tokenizer(random_models.RAISES_ON_SYSTEM))
    check(CountingEngine(54, template), ["a", "a"], "a", "Be brief.")


@pytest.mark.torch
@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES.keys())
@settings(deadline=None, max_examples=40)
@given(
    contents=st.lists(texts, max_size=7),
    draft=texts.filter(bool),
    system_prompt=st.sampled_from(["", "Be brief."]),
    window_tokens=st.integers(40, 300),
)
def test_the_parts_sum_to_the_prompt_of_real_templates(
    source, contents, draft, system_prompt, window_tokens
):
    template = ChatTemplate(random_models.tokenizer(source))
    check(CountingEngine(window_tokens, template), contents, draft, system_prompt)


def test_each_part_is_what_it_says():
    engine = CountingEngine()
    use = measure(engine, path_of(["Hello", "Hi there"]), "Bye", "Be brief.")
    around = "system:Be brief.\x1euser:\x1e"
    assert use == ContextUse(
        window_tokens=100_000,
        system_tokens=len(around),
        history_tokens=len("user:Hello\x1eassistant:Hi there\x1e"),
        draft_tokens=len("Bye"),
        reserve_tokens=100,
        first_message_id="m0",
    )
    empty = measure(engine, [], "")
    assert (empty.history_tokens, empty.draft_tokens, empty.first_message_id) == (0, 0, None)


def test_thoughts_take_nothing():
    use = measure(CountingEngine(), path_of(["Hello", "<think>Long</think>Hi"]), "")
    assert use.history_tokens == len("user:Hello\x1eassistant:Hi\x1e")


def test_the_cut_names_the_first_message_that_is_still_shown():
    path = path_of(["x" * 40, "y" * 40, "a", "b"])
    use = measure(CountingEngine(window_tokens=100), path, "c")
    assert (use.dropped_messages, use.first_message_id) == (2, "m2")
    use = measure(CountingEngine(window_tokens=100), path, "c" * 60)
    assert (use.dropped_messages, use.first_message_id, use.is_too_long) == (4, None, False)
    use = measure(CountingEngine(window_tokens=100), path, "c" * 80)
    assert (use.history_tokens, use.is_too_long) == (0, True)
    assert use.prompt_tokens == len("user:\x1e") + 80


@pytest.mark.parametrize("window_tokens", [1_000_000, 10_000])
def test_typing_encodes_the_draft_alone(window_tokens):
    engine, meter = CountingEngine(window_tokens), ContextMeter()
    path = path_of(["word " * 10] * 1000)
    measure(engine, path, "", "Be brief.", meter)
    assert sum(count > 4 for count in engine.encoded) <= 12  # log2 of 500 turns, and the whole
    engine.encoded.clear()
    for end in range(20):
        measure(engine, path, "a draft as it is typed"[:end], "Be brief.", meter)
    # Where the draft pushes another turn out, that cut is counted once.
    assert sum(count > 4 for count in engine.encoded) <= (0 if window_tokens > 100_000 else 3)


def test_what_is_kept_is_not_taken_for_another_s():
    engine, meter = CountingEngine(), ContextMeter()
    path = path_of(["Hello", "Hi"])
    before = measure(engine, path, "", "", meter).history_tokens
    grown = path_of(["Hello", "Hi there"])  # the answer was still being written
    assert measure(engine, grown, "", "", meter).history_tokens == before + len(" there")
    assert measure(engine, grown[:1], "", "", meter).history_tokens == len("Hello")
    with_system = measure(engine, path, "", "Be brief.", meter)
    assert with_system.history_tokens == before
    assert with_system.system_tokens == len("system:Be brief.\x1euser:\x1e")


def options(**changes: object) -> ReplyOptions:
    return ReplyOptions(config=CONFIG, **changes)  # type: ignore[arg-type]


def test_it_says_what_the_reply_says_then(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    loader._window_tokens = 250
    loader._answer = lambda prompt: Script(text="<think>Hm</think>" + "y" * 40)
    service, conversation_id, cuts = make_service(), None, []
    for number in range(6):
        draft = f"Question {number}"
        if number:
            use = service.context_use(ANNA, conversation_id, draft, options(system_prompt="Short"))
        reply = ended(service.reply(ANNA, conversation_id, draft, options(system_prompt="Short")))
        conversation_id, numbers = reply.conversation_id, reply.snapshot().numbers
        if number:
            assert use is not None
            assert use.prompt_tokens == numbers.prompt_tokens
            assert use.dropped_messages == numbers.dropped_messages
            cuts.append(use.first_message_id)
    ids = [message.id for message in service.conversation(ANNA, conversation_id or "").path()]
    assert cuts[0] == ids[0]
    assert cuts[-1] in ids[4:]


def test_it_loads_and_opens_nothing(
    service: ChatService, loader: FakeLoader, tmp_path: Path
) -> None:
    assert service.context_use(ANNA, None, "Hello", options()) is None
    assert list(tmp_path.iterdir()) == []
    loader.gate.clear()
    service.start()
    assert service.context_use(ANNA, None, "Hello", options()) is None
    loader.gate.set()
    wait_until(lambda: service.model.phase == "ready")
    use = service.context_use(ANNA, None, "Hello", options())
    assert use is not None
    assert use.draft_tokens == len("Hello")
    service.unload_model()
    assert service.context_use(ANNA, None, "Hello", options()) is None
    assert loader.loads == [("pocket-guide", "full")]


def test_it_tells_nobody_of_another_s_conversation(service: ChatService) -> None:
    c = ended(service.reply(ANNA, None, "Hello", options())).conversation_id
    assert service.context_use(ANNA, c, "", options()) is not None
    with pytest.raises(NotFoundError):
        service.context_use(BEN, c, "", options())


def test_what_can_t_be_sent(make_service: Callable[..., ChatService]) -> None:
    service = make_service(limits={"message_chars": 10})
    ended(service.reply(ANNA, None, "Hello", options()))
    use = service.context_use(ANNA, None, "x" * 1000, options())
    assert use is not None
    assert use.draft_tokens == 10
    half = service.context_use(ANNA, None, "\ud800", options())
    assert half is not None
    assert half.draft_tokens == len("\ufffd".encode())
    with pytest.raises(InvalidRequestError):
        service.context_use(ANNA, None, "", options(system_prompt="x" * 11))


def test_a_template_that_refuses_has_no_meter(
    service: ChatService, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(service.reply(ANNA, None, "Hello", options()))

    def refuse(messages: Sequence[PromptMessage], thinking: bool | None = None) -> list[int]:
        raise EngineError("No.", "Try another.")

    monkeypatch.setattr(loader.engines[0], "encode", refuse)
    assert service.context_use(ANNA, None, "Hello", options()) is None


def test_a_message_being_edited_counts_in_its_place_and_not_on_top(service: ChatService) -> None:
    c = ended(service.reply(ANNA, None, "Hello", options())).conversation_id
    ended(service.reply(ANNA, c, "Second", options()))
    first, answer, second, _ = service.conversation(ANNA, c).path()

    def use(draft: str, edited: Message) -> ContextUse:
        found = service.context_use(ANNA, c, draft, options(), edited.id)
        assert found is not None
        return found

    before = f"user:{first.content}\x1eassistant:{answer.content}\x1e"
    assert (use("Bye", second).history_tokens, use("Bye", second).draft_tokens) == (len(before), 3)
    assert (use("Bye", first).history_tokens, use("Bye", first).draft_tokens) == (0, 3)
    # An answer is not sent, but is what the next message would stand behind; at every key.
    for text in ("Written", "written"):
        history = f"user:{first.content}\x1eassistant:{text}\x1e"
        assert use(text, answer).history_tokens == len(history)
        assert use(text, answer).draft_tokens == 0
    assert use("Bye", second).history_tokens == len(before)
    with pytest.raises(NotFoundError):
        service.context_use(ANNA, c, "", options(), "nowhere")


def test_an_answer_longer_than_a_message_may_be_is_counted_whole_when_it_is_edited(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    loader._answer = lambda prompt: Script(text="y" * 50)
    service = make_service(limits={"message_chars": 10})
    c = ended(service.reply(ANNA, None, "Hello", options())).conversation_id
    answer = service.conversation(ANNA, c).path()[1]
    for text, is_cut in (("y" * 50, False), ("y" * 51, True)):
        use = service.context_use(ANNA, c, text, options(), answer.id)
        assert use is not None
        assert use.history_tokens == len("user:Hello\x1eassistant:\x1e") + 50
        assert use.is_draft_cut == is_cut


def test_the_beginning_of_the_answer_counts_with_the_draft(service: ChatService) -> None:
    ended(service.reply(ANNA, None, "Hello", options()))
    for begins_with in ("", " ", "Dear reader"):
        asked = options(begins_with=begins_with)
        use = service.context_use(ANNA, None, "Bye", asked)
        reply = ended(service.reply(ANNA, None, "Bye", asked))
        assert use is not None
        assert use.prompt_tokens == reply.snapshot().numbers.prompt_tokens
        assert use.draft_tokens >= len("Bye") + len(begins_with.strip())


def test_the_parts_sum_with_a_beginning_of_the_answer_and_a_cut_history(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    loader._window_tokens = 250
    loader._answer = lambda prompt: Script(text="y" * 40)
    service, c = make_service(), None
    for number in range(5):
        asked = options(system_prompt="Short", begins_with="Well, " * 4)
        use = service.context_use(ANNA, c, f"Question {number}", asked) if number else None
        reply = ended(service.reply(ANNA, c, f"Question {number}", asked))
        c, numbers = reply.conversation_id, reply.snapshot().numbers
        if use is not None:
            assert use.prompt_tokens == numbers.prompt_tokens
            assert use.dropped_messages == numbers.dropped_messages
    assert numbers.dropped_messages


def test_a_draft_over_the_cap_says_that_it_was_counted_as_far_as_that(
    make_service: Callable[..., ChatService],
) -> None:
    service = make_service(limits={"message_chars": 10})
    ended(service.reply(ANNA, None, "Hello", options()))
    for length, is_cut in ((10, False), (11, True)):
        use = service.context_use(ANNA, None, "x" * length, options())
        assert use is not None
        assert (use.draft_tokens, use.is_draft_cut) == (10, is_cut)

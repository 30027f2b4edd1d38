"""Versions through ChatService: nothing that was written is altered, lost or stopped."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chat_ui.chat.exchange import to_json
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Conversation, Message, Numbers
from chat_ui.engine.fake import FakeEngine, FakeLoader, Script
from chat_ui.engine.protocol import Cancel, Request, Sink
from chat_ui.errors import BusyError, ChatUIError, InvalidRequestError, NotFoundError
from chat_ui.service import ChatService, ReplyOptions
from tests.service.conftest import ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
OPTIONS = ReplyOptions()
BRIEF = ReplyOptions("Be brief.", GenerationConfig(temperature=0.3))

Asked = list[tuple[str, bool]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the engine was asked, as text, and whether the answer was begun."""
    requests: Asked = []
    start = FakeEngine.start

    def note(engine: FakeEngine, request: Request, sink: Sink) -> Cancel:
        text = bytes(request.prompt_ids).decode().replace("\x1e", "|")
        requests.append((text, request.is_begun))
        return start(engine, request, sink)

    monkeypatch.setattr(FakeEngine, "start", note)
    return requests


def told(service: ChatService, *texts: str) -> Conversation:
    """A conversation of these questions and their answers."""
    conversation_id = None
    for text in texts:
        conversation_id = ended(service.reply(ANNA, conversation_id, text, OPTIONS)).conversation_id
    assert conversation_id is not None
    return service.conversation(ANNA, conversation_id)


def shown(service: ChatService, conversation_id: str) -> list[str]:
    return [message.content for message in service.conversation(ANNA, conversation_id).path()]


def added(service: ChatService, *messages: Message) -> Conversation:
    """A conversation from a file."""
    time = messages[0].created_at
    text = to_json([Conversation("c", "Title", "", time, time, messages[-1].id, messages)])
    [new] = service.add_conversations(ANNA, text).ids
    return service.conversation(ANNA, new)


# ---- regenerate ----


def test_any_question_is_answered_again_by_its_id_or_an_answer_s(
    service: ChatService, asked: Asked
) -> None:
    c = told(service, "One", "Two")
    first, answer, *_ = c.messages
    for message_id in (first.id, answer.id):
        reply = ended(service.regenerate(ANNA, c.id, BRIEF, message_id))
        assert shown(service, c.id) == ["One", "You said: One"]
        head = service.conversation(ANNA, c.id).path()[-1]
        assert (head.id, head.parent_id) == (reply.message_id, first.id)
        assert asked[-1] == ("system:Be brief.|user:One|", False)
    assert service.conversation(ANNA, c.id).messages[:4] == c.messages


def test_there_is_no_answer_without_a_question(service: ChatService) -> None:
    c = told(service, "One")
    alone = added(service, replace(c.messages[1], parent_id=None))
    with pytest.raises(InvalidRequestError, match="no answer to write again"):
        service.regenerate(ANNA, alone.id, OPTIONS, alone.messages[0].id)
    with pytest.raises(InvalidRequestError, match="no answer to write again"):
        service.continue_answer(ANNA, alone.id, alone.messages[0].id, OPTIONS)
    assert service.running(ANNA, alone.id) is None


# ---- after the message that a page shows ----


def test_a_message_follows_the_one_that_its_page_shows(service: ChatService) -> None:
    c = told(service, "One", "Two")
    shown_there = c.messages[1]
    reply = ended(service.reply(ANNA, c.id, "Three", OPTIONS, after_id=shown_there.id))
    assert shown(service, c.id) == ["One", "You said: One", "Three", "You said: Three"]
    assert service.conversation(ANNA, c.id).head_id == reply.message_id
    assert service.conversation(ANNA, c.id).messages[:4] == c.messages, "the other branch stays"
    ended(service.reply(ANNA, c.id, "Four", OPTIONS, after_id=c.messages[2].id))
    assert shown(service, c.id)[-3:] == ["Two", "Four", "You said: Two\n\nFour"]


def test_a_message_of_another_conversation_is_followed_by_none(service: ChatService) -> None:
    c, other = told(service, "One"), told(service, "Two")
    with pytest.raises(NotFoundError):
        service.reply(ANNA, c.id, "Three", OPTIONS, after_id=other.messages[1].id)
    assert service.conversation(ANNA, c.id) == c
    assert service.running(ANNA, c.id) is None


# ---- continue_answer ----


def test_an_answer_goes_on_in_another_version(
    service: ChatService, loader: FakeLoader, asked: Asked
) -> None:
    c = told(service, "One", "Two")
    *_, question, answer = c.messages
    loader.engines[0]._answer = lambda prompt: Script(" and more")
    reply = service.continue_answer(ANNA, c.id, answer.id, replace(BRIEF, begins_with="not this"))
    assert reply.snapshot().text.startswith("You said: Two")
    assert ended(reply).snapshot().text == "You said: Two and more"
    now = service.conversation(ANNA, c.id)
    assert now.messages[:4] == c.messages, "the finished one is as it was"
    new = now.path()[-1]
    assert (new.parent_id, new.content) == (question.id, "You said: Two and more")
    assert new.recipe is not None
    assert (new.recipe.given, new.recipe.system_prompt) == ("You said: Two", "Be brief.")
    assert answer.numbers.completion_tokens is not None
    assert new.numbers.completion_tokens == answer.numbers.completion_tokens + 2
    assert new.numbers.first_token_s == answer.numbers.first_token_s
    assert new.numbers.prompt_tokens == answer.numbers.prompt_tokens
    assert asked[-1] == (
        "system:Be brief.|user:One|assistant:You said: One|user:Two|assistant:You said: Two",
        True,
    )
    again = ended(service.continue_answer(ANNA, c.id, new.id, OPTIONS))
    assert again.snapshot().text == "You said: Two and more and more"


def test_of_an_answer_that_a_person_began_the_numbers_are_the_model_s_part(
    service: ChatService, loader: FakeLoader
) -> None:
    c = told(service, "One")
    loader.engines[0]._answer = lambda prompt: Script(" and more")
    mine = service.edit_answer(ANNA, c.id, c.messages[1].id, "Mine")
    reply = ended(service.continue_answer(ANNA, c.id, mine, OPTIONS))
    assert reply.snapshot().numbers.completion_tokens == 2


def test_the_machine_is_not_measured_by_an_answer_that_went_on(
    service: ChatService, loader: FakeLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = told(service, "One")
    measured: list[Numbers] = []
    replies = service._backend.replies
    monkeypatch.setattr(replies, "_answered", lambda facts, numbers: measured.append(numbers))
    went_on = ended(service.continue_answer(ANNA, c.id, c.messages[1].id, OPTIONS))
    again = ended(service.regenerate(ANNA, c.id, OPTIONS))
    wait_until(lambda: bool(measured))
    assert measured == [again.snapshot().numbers] != [went_on.snapshot().numbers]


def test_an_answer_may_go_on_that_is_longer_than_a_message(
    make_service: Callable[..., ChatService], loader: FakeLoader
) -> None:
    loader._answer = lambda prompt: Script("x" * 30)
    service = make_service(limits={"message_chars": 20})
    c = told(service, "One")
    assert ended(
        service.continue_answer(ANNA, c.id, c.messages[1].id, OPTIONS)
    ).snapshot().text == ("x" * 60)
    assert service.edit_answer(ANNA, c.id, c.messages[1].id, "y" * 30)
    with pytest.raises(InvalidRequestError, match="31 characters; 30 is the limit"):
        service.edit_answer(ANNA, c.id, c.messages[1].id, "y" * 31)


def test_neither_an_empty_answer_goes_on_nor_one_that_is_being_written(
    service: ChatService, loader: FakeLoader
) -> None:
    slow = Script("word " * 2000, tokens_per_s=200)
    loader._answer = lambda prompt: slow if prompt == "slow" else Script(fails_at=0)
    c = told(service, "One")
    with pytest.raises(InvalidRequestError, match="the answer is empty"):
        service.continue_answer(ANNA, c.id, c.messages[1].id, OPTIONS)
    with pytest.raises(NotFoundError):
        service.continue_answer(ANNA, c.id, c.messages[0].id, OPTIONS)
    assert service.running(ANNA, c.id) is None
    reply = service.reply(ANNA, c.id, "slow", OPTIONS)
    with pytest.raises(BusyError, match="is being written"):
        service.continue_answer(ANNA, c.id, reply.message_id, OPTIONS)
    reply.stop()
    assert len(service.conversation(ANNA, c.id).messages) == 4


def test_an_imported_answer_in_parts_goes_on_after_the_last(
    service: ChatService, asked: Asked
) -> None:
    question, answer = told(service, "One").messages
    later = replace(answer, id="later", parent_id=answer.id, content="Part two")
    c = added(service, question, answer, later)
    reply = ended(service.continue_answer(ANNA, c.id, c.messages[-1].id, OPTIONS))
    begun = "You said: One\n\nPart two"
    assert asked[-1] == (f"user:One|assistant:{begun}", True)
    assert reply.snapshot().text.startswith(begun)
    assert service.conversation(ANNA, c.id).path()[-1].parent_id == c.messages[0].id


# ---- editing ----


def test_an_edited_question_stands_beside_the_first(service: ChatService, asked: Asked) -> None:
    c = told(service, "One", "Two")
    reply = ended(service.edit_question(ANNA, c.id, c.messages[2].id, "Three", BRIEF))
    assert shown(service, c.id) == ["One", "You said: One", "Three", "You said: Three"]
    assert asked[-1][0] == "system:Be brief.|user:One|assistant:You said: One|user:Three|"
    ended(service.edit_question(ANNA, c.id, c.messages[0].id, "Zero", OPTIONS))
    now = service.conversation(ANNA, c.id)
    assert shown(service, c.id) == ["Zero", "You said: Zero"]
    assert now.messages[:4] == c.messages
    assert now.title == "One"
    service.show_version(ANNA, c.id, reply.message_id)
    path = service.conversation(ANNA, c.id).path()
    counts = [len(versions) for versions in service.conversation(ANNA, c.id).siblings(path)]
    assert counts == [2, 1, 2, 1]


def test_what_is_no_message_is_no_edited_question(service: ChatService) -> None:
    c = told(service, "One")
    question, answer = c.messages
    for text in ("", " \n", "x" * 32_001):
        with pytest.raises(InvalidRequestError):
            service.edit_question(ANNA, c.id, question.id, text, OPTIONS)
        with pytest.raises(InvalidRequestError):
            service.edit_answer(ANNA, c.id, answer.id, text)
    for call in (
        lambda: service.edit_question(ANNA, c.id, answer.id, "x", OPTIONS),
        lambda: service.edit_answer(ANNA, c.id, question.id, "x"),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert service.conversation(ANNA, c.id) == c
    assert service.running(ANNA, c.id) is None


def test_an_edited_answer_is_a_person_s(service: ChatService, asked: Asked) -> None:
    c = told(service, "One")
    before = len(asked)
    new = service.edit_answer(ANNA, c.id, c.messages[1].id, "No.")
    head = service.conversation(ANNA, c.id).path()[-1]
    assert (head.id, head.content, head.state) == (new, "No.", "complete")
    assert (head.recipe, head.numbers) == (None, Numbers())
    assert len(asked) == before, "no model has a part in it"
    ended(service.reply(ANNA, c.id, "Why?", OPTIONS))
    assert asked[-1][0] == "user:One|assistant:No.|user:Why?|"


def test_an_answer_is_not_edited_while_it_is_written(service: ChatService) -> None:
    c = told(service, "One")
    reply = service.reply(ANNA, c.id, "slow", OPTIONS)
    with pytest.raises(BusyError, match="still being written"):
        service.edit_answer(ANNA, c.id, reply.message_id, "x")
    service.edit_answer(ANNA, c.id, c.messages[1].id, "No.")
    assert reply.snapshot().state == "writing"
    reply.stop()
    ended(reply)
    assert service.edit_answer(ANNA, c.id, reply.message_id, "x")


# ---- show_version ----


def test_an_answer_goes_on_while_another_version_is_shown(service: ChatService) -> None:
    c = told(service, "One")
    reply = service.regenerate(ANNA, c.id, OPTIONS)
    ended(reply)
    growing = service.edit_question(ANNA, c.id, c.messages[0].id, "slow", OPTIONS)
    wait_until(lambda: len(growing.snapshot().text) > 20)
    service.show_version(ANNA, c.id, c.messages[1].id)
    assert shown(service, c.id) == ["One", "You said: One"]
    before = len(growing.snapshot().text)
    wait_until(lambda: len(growing.snapshot().text) > before)
    assert service.running(ANNA, c.id) is growing
    with pytest.raises(BusyError):
        service.reply(ANNA, c.id, "too soon", OPTIONS)
    service.stop_reply(ANNA, c.id)
    text = ended(growing).snapshot().text
    # Its end moves nothing: what a person chose to see stays.
    assert shown(service, c.id) == ["One", "You said: One"]
    service.show_version(ANNA, c.id, growing.message_id)
    assert shown(service, c.id) == ["slow", text]
    assert service.conversation(ANNA, c.id).path()[-1].state == "stopped"


def test_a_growing_answer_is_shown_again_with_its_text_of_now(service: ChatService) -> None:
    c = told(service, "One")
    growing = service.reply(ANNA, c.id, "slow", OPTIONS)
    service.show_version(ANNA, c.id, c.messages[0].id)
    assert shown(service, c.id)[-2] == "slow", "the newest that follows it"
    wait_until(lambda: bool(growing.snapshot().text))
    assert shown(service, c.id)[-1]
    growing.stop()


def test_a_switch_of_versions_is_seen_in_the_list(service: ChatService) -> None:
    c = told(service, "One")
    ended(service.regenerate(ANNA, c.id, OPTIONS))
    [before] = service.conversations(ANNA)
    service.show_version(ANNA, c.id, c.messages[1].id)
    [after] = service.conversations(ANNA)
    assert after == replace(before, head_id=c.messages[1].id)


# ---- owners ----


@pytest.mark.parametrize("unknown", ["0" * 32, "", "../x", None, 7, ["0" * 32], "0" * 31 + "\n"])
def test_foreign_and_unknown_ids_answer_alike(service: ChatService, unknown: str) -> None:
    c = told(service, "One")
    question, answer = c.messages
    bens = ended(service.reply(BEN, None, "Mine", OPTIONS)).conversation_id

    def calls(c_id: str, q_id: str, a_id: str) -> list[Callable[[], object]]:
        return [
            lambda: service.regenerate(BEN, c_id, OPTIONS, q_id or "x"),
            lambda: service.continue_answer(BEN, c_id, a_id, OPTIONS),
            lambda: service.edit_question(BEN, c_id, q_id, "x", OPTIONS),
            lambda: service.edit_answer(BEN, c_id, a_id, "x"),
            lambda: service.show_version(BEN, c_id, a_id),
            lambda: service.branch(BEN, c_id, a_id),
            lambda: service.export_json(BEN, c_id or ""),
            lambda: service.export_markdown(BEN, c_id or ""),
            lambda: service.python_script(BEN, c_id, a_id),
        ]

    foreign = calls(c.id, question.id, answer.id)
    # One's own conversation, and a message of another's.
    elsewhere = [
        call
        for number, call in enumerate(calls(bens, question.id, answer.id))
        if number not in (6, 7)  # they take no message
    ]
    for call in (*foreign, *elsewhere, *calls(unknown, unknown, unknown)):
        with pytest.raises(ChatUIError) as refusal:
            call()
        assert str(refusal.value) == str(NotFoundError())
    assert service.conversation(ANNA, c.id) == c
    assert len(service.conversation(BEN, bens).messages) == 2
    assert service.running(BEN, c.id) is service.running(BEN, bens) is None
    assert len(service.conversations(BEN)) == 1

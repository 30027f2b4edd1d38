"""Conversations through ChatService as branches, files and scripts."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chat_ui.chat.exchange import read, to_json
from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Conversation, Message, Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.errors import InvalidRequestError, ModelError, NotFoundError
from chat_ui.models.spec import BUILT_IN_FOLDER
from chat_ui.service import ChatService, ReplyOptions, files
from tests.service.conftest import ended, wait_until

ANNA, BEN = "a" * 64, "b" * 64
OPTIONS = ReplyOptions("Be brief.", GenerationConfig(temperature=0.3))
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECIPE = Recipe("Be brief.", GenerationConfig(temperature=0, seed=7))


def told(service: ChatService, *texts: str, owner: str = ANNA) -> Conversation:
    conversation_id = None
    for text in texts:
        reply = ended(service.reply(owner, conversation_id, text, OPTIONS))
        conversation_id = reply.conversation_id
    assert conversation_id is not None
    return service.conversation(owner, conversation_id)


def file(*answers: Message, updated_at: datetime = THEN, title: str = "Title") -> str:
    """A file of one conversation: a question, and answers to it."""
    messages = (Message("q", None, "user", "Hello", THEN), *answers)
    head = messages[-1].id
    return to_json([Conversation("c", title, "", THEN, updated_at, head, messages)])


def answer(model_id: str | None, recipe: Recipe | None = RECIPE, **numbers: object) -> Message:
    known = Numbers(**{"model_id": model_id, "precision": "full"} | numbers)  # type: ignore[arg-type]
    return Message("a", "q", "assistant", "Hi", THEN, numbers=known, recipe=recipe)


def script_of(service: ChatService, message: Message) -> str:
    """The script of an answer that came with a file."""
    [new] = service.add_conversations(ANNA, file(message)).ids
    return service.python_script(ANNA, new, service.conversation(ANNA, new).path()[-1].id)


# ---- branches ----


def test_a_branch_is_the_path_up_to_a_message_under_other_ids(service: ChatService) -> None:
    c = told(service, "One", "Two", "Three")
    service.edit_answer(ANNA, c.id, c.messages[1].id, "No.")
    before = service.conversation(ANNA, c.id)
    new = service.branch(ANNA, c.id, c.messages[3].id)
    copy = service.conversation(ANNA, new)
    assert copy.messages == copy.path()
    assert [replace(m, id="", parent_id=None) for m in copy.messages] == [
        replace(m, id="", parent_id=None) for m in c.messages[:4]
    ]
    assert copy.messages[3].recipe == c.messages[3].recipe is not None
    assert (copy.title, copy.system_prompt) == (c.title, c.system_prompt)
    assert not {m.id for m in copy.messages} & {m.id for m in before.messages}
    assert copy.updated_at > before.updated_at
    assert [line.id for line in service.conversations(ANNA)] == [new, c.id]
    assert service.conversation(ANNA, c.id) == before
    # Both go on by themselves, also after a question alone.
    alone = service.branch(ANNA, c.id, c.messages[2].id)
    ended(service.regenerate(ANNA, alone, OPTIONS))
    assert service.conversation(ANNA, alone).path()[-1].content == "You said: Two"


def test_a_growing_answer_is_copied_as_far_as_it_is(service: ChatService) -> None:
    growing = service.reply(ANNA, None, "slow", OPTIONS)
    wait_until(lambda: len(growing.snapshot().text) > 20)
    new = service.branch(ANNA, growing.conversation_id, growing.message_id)
    copy = service.conversation(ANNA, new).path()[-1]
    assert copy.state == "stopped"
    assert len(copy.content) > 20
    assert growing.snapshot().state == "writing"
    assert service.running(ANNA, new) is None
    growing.stop()


# ---- files in and out ----


def test_what_is_exported_comes_back_whole(service: ChatService) -> None:
    c = told(service, "One", "Two")
    service.edit_answer(ANNA, c.id, c.messages[1].id, "No.")
    other = told(service, "Other")
    text = service.export_json(ANNA, None)[1]
    assert [one.title for one in read(text).conversations] == ["Other", "One"]
    added = service.add_conversations(BEN, text)
    assert added.left_out == 0
    assert [line.id for line in service.conversations(BEN)] == list(added.ids)
    for original, id_ in zip((other, c), added.ids, strict=True):
        original = service.conversation(ANNA, original.id)
        copy = service.conversation(BEN, id_)
        assert [replace(m, id="", parent_id="") for m in copy.messages] == [
            replace(m, id="", parent_id="") for m in original.messages
        ]
        assert (copy.created_at, copy.updated_at) == (original.created_at, original.updated_at)
        assert [m.content for m in copy.path()] == [m.content for m in original.path()]
    [one] = json.loads(service.export_json(ANNA, c.id)[1])["conversations"]
    assert one["id"] == c.id
    assert service.export_json("c" * 64, None)[1].count('"id"') == 0


def test_an_answer_that_is_being_written_is_exported_as_it_is_now(service: ChatService) -> None:
    growing = service.reply(ANNA, None, "slow", OPTIONS)
    wait_until(lambda: len(growing.snapshot().text) > 20)
    [one] = read(service.export_json(ANNA, growing.conversation_id)[1]).conversations
    assert one.path()[-1].state == "stopped"
    assert len(one.path()[-1].content) > 20
    growing.stop()


def test_added_conversations_keep_their_times_and_stand_above(service: ChatService) -> None:
    mine = told(service, "Mine").id
    texts = [
        file(answer(None), updated_at=THEN + timedelta(days=day), title=str(day))
        for day in (1, 3, 2)
    ]
    found = [json.loads(text)["conversations"][0] for text in texts]
    added = service.add_conversations(ANNA, json.dumps([*found, {"messages": 1}]))
    assert added.left_out == 1
    lines = service.conversations(ANNA)
    assert [line.title for line in lines] == ["3", "2", "1", "Mine"]
    assert [line.id for line in lines] == [added.ids[1], added.ids[2], added.ids[0], mine]
    assert lines[0].updated_at == THEN + timedelta(days=3)


@pytest.mark.parametrize("text", ["", "no file", "[]"])
def test_what_is_no_file_adds_nothing(service: ChatService, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        service.add_conversations(ANNA, text)
    assert service.conversations(ANNA) == []


def test_a_file_may_hold_too_many_messages(
    service: ChatService, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file(answer(None))
    monkeypatch.setattr(files, "MAX_FILE_MESSAGES", 1)
    with pytest.raises(InvalidRequestError, match="2 messages; 1 is the limit"):
        service.add_conversations(ANNA, text)
    assert service.conversations(ANNA) == []
    monkeypatch.setattr(files, "MAX_FILE_MESSAGES", 2)
    assert service.add_conversations(ANNA, text).left_out == 0


def test_markdown_has_a_name_and_the_shown_path(service: ChatService) -> None:
    c = told(service, "One")
    service.edit_answer(ANNA, c.id, c.messages[1].id, "No.")
    name, text = service.export_markdown(ANNA, c.id)
    assert name == "One.md"
    assert "No." in text
    assert "You said" not in text


# ---- scripts ----


def test_a_script_asks_for_what_the_model_was_shown(service: ChatService) -> None:
    c = told(service, "One", "Two")
    # A later answer's, and versions beside, are not part of it.
    ended(service.regenerate(ANNA, c.id, ReplyOptions("Be long.")))
    script = service.python_script(ANNA, c.id, c.messages[3].id)
    compile(script, "script", "exec")
    for text in ("Be brief.", "One", "You said: One", "Two", "temperature=0.3"):
        assert text in script, text
    assert "Be long." not in script
    assert "You said: Two" not in script
    assert f"set_seed({c.messages[3].numbers.seed})" in script
    # The built-in model is a folder on this machine, which transformers loads.
    assert f"model={str(BUILT_IN_FOLDER)!r}" in script


def test_what_did_not_fit_and_what_was_given_are_as_they_were(service: ChatService) -> None:
    c = told(service, "One", "Two")
    [one] = read(service.export_json(ANNA, c.id)[1]).conversations
    last = replace(
        one.messages[3],
        recipe=replace(RECIPE, given="Well, "),
        numbers=Numbers(model_id="o/m", precision="full", dropped_messages=2),
    )
    text = to_json([replace(one, messages=(*one.messages[:3], last))])
    [new] = service.add_conversations(ANNA, text).ids
    head = service.conversation(ANNA, new).path()[-1]
    script = service.python_script(ANNA, new, head.id)
    assert "One" not in script
    assert "{\"role\": 'assistant', \"content\": 'Well, '}," in script
    assert script.index("Be brief.") < script.index("Two") < script.index("Well, ")


@pytest.mark.parametrize(
    ("precision", "part"),
    [
        ("8bit", "BitsAndBytesConfig(load_in_8bit=True)"),
        ("4bit", "bnb_4bit_use_double_quant=True"),
        ("8bit-cpu", "precision '8bit-cpu' is chat_ui's own"),
        ("3bit", "precision '3bit' is chat_ui's own"),
    ],
)
def test_the_precision_is_asked_for_too(service: ChatService, precision: str, part: str) -> None:
    assert part in script_of(service, answer("o/m", precision=precision))


@pytest.mark.parametrize(
    "message", [answer("o/m", None), answer(None), answer("o/m", precision=None)]
)
def test_what_is_not_known_makes_no_script(service: ChatService, message: Message) -> None:
    with pytest.raises(InvalidRequestError, match="not known which model"):
        script_of(service, message)


def test_a_question_makes_no_script(service: ChatService) -> None:
    c = told(service, "One")
    with pytest.raises(NotFoundError):
        service.python_script(ANNA, c.id, c.messages[0].id)


def test_a_folder_that_is_gone_makes_no_script(service: ChatService, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        script_of(service, answer(str(tmp_path / "gone")))


@pytest.mark.parametrize("model_id", ["pocket-guide", "/srv/secret/model", "~/model", "../m"])
def test_visitors_neither_get_nor_probe_the_server_s_folders(
    make_service: Callable[..., ChatService], monkeypatch: pytest.MonkeyPatch, model_id: str
) -> None:
    service = make_service(door="share")
    with monkeypatch.context() as looking:
        looking.setattr(files, "find", lambda model: pytest.fail("it was looked for"))
        with pytest.raises(InvalidRequestError, match="in a folder of the server"):
            script_of(service, answer(model_id))
        assert "model='o/m'" in script_of(service, answer("o/m"))
    exported = service.export_json(ANNA, None)[1]
    assert ("/srv/secret" in exported, "../m" in exported, "~/m" in exported) == (False,) * 3
    assert '"o/m"' in exported
    assert ("pocket-guide" in exported) == (model_id == "pocket-guide")


def test_all_conversations_as_markdown_are_one_file(service):
    for text in ("Hello", "Good evening"):
        ended(service.reply(ANNA, None, text, OPTIONS))
    name, text = service.export_markdown(ANNA, None)
    assert name == "All conversations.md"
    assert text.index("Good evening") < text.index("Hello")
    assert service.export_json(ANNA, None)[0] == "All conversations.json"
    assert service.export_markdown("c" * 64, None)[1] == ""


def test_where_strangers_come_a_file_s_texts_are_no_longer_than_sent_ones(
    make_service: Callable[..., ChatService],
) -> None:
    service = make_service(door="share")
    limit = service.settings.limits.message_chars

    def file(*lengths: int) -> str:
        return json.dumps(
            [
                {"messages": [{"role": "user", "content": "x" * length, "id": "1"}], "title": "T"}
                for length in lengths
            ]
        )

    added = service.add_conversations(ANNA, file(limit, limit + 1))
    assert (len(added.ids), added.left_out) == (1, 1)
    with pytest.raises(InvalidRequestError, match="8,001 characters; 8,000 is the limit here"):
        service.add_conversations(ANNA, file(limit + 1))
    home = make_service(data_dir=service.settings.data_dir / "home")
    assert home.add_conversations(ANNA, file(100_000)).left_out == 0


def test_a_file_without_conversations_is_told_so(service: ChatService) -> None:
    empty = service.export_json(ANNA, None)[1]
    with pytest.raises(InvalidRequestError, match="no conversation"):
        service.add_conversations(ANNA, empty)

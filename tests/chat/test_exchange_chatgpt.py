"""ChatGPT's files, made by hand after real ones."""

import json
from datetime import UTC, datetime

import pytest

from chat_ui.chat.exchange import read
from chat_ui.chat.imports import assembled
from chat_ui.chat.messages import Conversation, Message
from chat_ui.errors import InvalidRequestError

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
BEGUN = 1_700_000_000


def at(seconds):
    return datetime.fromtimestamp(BEGUN + seconds, UTC)


def node(id_, parent, role=None, *parts, time=None, content=None, **message):
    """A node of ChatGPT's mapping; one without a role holds no message, as the root does."""
    said = None
    if role:
        said = {
            "id": id_,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": None if time is None else BEGUN + time,
            "content": content or {"content_type": "text", "parts": list(parts)},
            "status": "finished_successfully",
            "metadata": {},
            "recipient": "all",
            **message,
        }
    return {"id": id_, "parent": parent, "children": [], "message": said}


def chatgpt(*nodes, **given_):
    return {
        "title": "Trip",
        "create_time": BEGUN + 0.5,
        "update_time": BEGUN + 60,
        "mapping": {each["id"]: each for each in nodes},
        "current_node": nodes[-1]["id"],
        "conversation_id": "c-1",
        "id": "c-1",
        **given_,
    }


def read_one(document):
    imported = read(json.dumps(document), NOW)
    assert imported.left_out == 0
    [found] = imported.conversations
    return found


def said(conversation):
    return [(m.id, m.parent_id, m.role, m.content) for m in conversation.messages]


def test_chatgpt_branches_and_hidden_nodes():
    found = read_one(
        [
            chatgpt(
                node("root", None),
                node("hidden", "root", "system", "Secret.",
                     metadata={"is_visually_hidden_from_conversation": True}),
                node("system", "hidden", "system", "Be brief."),
                node("q1", "system", "user", "Where to?", time=1),
                # Regenerated: the answer that is shown is the first in the file.
                node("a2", "q1", "assistant", "Rome.", time=9, metadata={"model_slug": "gpt-4o"}),
                node("a1", "q1", "assistant", "Oslo.", time=5),
                node("q2", "a2", "user", "When?", time=20),
                node("call", "q2", "assistant", time=21, recipient="browser",
                     content={"content_type": "code", "text": "search()"}),
                node("tool", "call", "tool", "result", time=22),
                node("thoughts", "tool", "assistant", time=23,
                     content={"content_type": "thoughts", "thoughts": []}),
                node("blank", "thoughts", "assistant", "", time=24),
                node("a3", "blank", "assistant", "In ", "May.", time=25),
            )
        ]
    )  # fmt: skip
    assert said(found) == [
        ("q1", None, "user", "Where to?"),
        ("a1", "q1", "assistant", "Oslo."),
        ("a2", "q1", "assistant", "Rome."),
        ("q2", "a2", "user", "When?"),
        ("a3", "q2", "assistant", "In \n\nMay."),
    ]
    assert found.head_id == "a3"
    assert (found.id, found.title, found.system_prompt) == ("c-1", "Trip", "Be brief.")
    assert (found.created_at, found.updated_at) == (at(0.5), at(60))
    assert [m.created_at for m in found.messages] == [at(1), at(5), at(9), at(20), at(25)]
    assert [m.numbers.model for m in found.messages] == [None, None, "gpt-4o", None, None]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"content_type": "image_asset_pointer", "width": 3}, "What?"], "[image]\n\nWhat?"),
        ([{"content_type": "image_asset_pointer"}], "[image]"),
        ([{"content_type": "audio_transcription", "text": "Hi."},
          {"content_type": "audio_asset_pointer"}], "Hi."),
        ([{"content_type": "audio_transcription", "text": ""}], "[audio]"),
        ([{"content_type": "real_time_user_audio_video_asset_pointer"}], "[audio]"),
        ([{"content_type": "video_container_asset_pointer"}], "[video]"),
        ([{"content_type": ["odd"]}, None, 5, "x"], "[file]\n\nx"),
    ],
)  # fmt: skip
def test_chatgpt_parts_that_are_no_text(parts, text):
    content = {"content_type": "multimodal_text", "parts": parts}
    found = read_one([chatgpt(node("root", None), node("q", "root", "user", content=content))])
    assert [m.content for m in found.messages] == [text]


def test_chatgpt_code_for_all_is_an_answer():
    content = {"content_type": "code", "language": "python", "text": "print()"}
    found = read_one(
        [chatgpt(node("q", None, "user", "?"), node("a", "q", "assistant", content=content))]
    )
    assert found.messages[1].content == "print()"


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ({}, "complete"),
        ({"status": "in_progress"}, "interrupted"),
        ({"status": "finished_partial_completion"}, "stopped"),
        ({"metadata": {"finish_details": {"type": "max_tokens"}}}, "length"),
        ({"metadata": {"finish_details": {"type": "stop"}}}, "complete"),
    ],
)
def test_chatgpt_says_how_an_answer_ended(message, state):
    nodes = node("q", None, "user", "?", **message), node("a", "q", "assistant", "!", **message)
    assert [m.state for m in read_one([chatgpt(*nodes)]).messages] == ["complete", state]


def test_chatgpt_without_times_keeps_the_files_order():
    found = read_one(
        chatgpt(
            node("a", "q", "assistant", "!"),
            node("q", "gone", "user", "?"),
            create_time=None,
            update_time="soon",
            title=None,
        )
    )
    assert said(found) == [("q", None, "user", "?"), ("a", "q", "assistant", "!")]
    assert {found.created_at, found.updated_at, found.messages[0].created_at} == {NOW}
    assert found.title == "?"


def test_chatgpt_head_that_is_left_out_or_missing():
    nodes = (
        node("q", None, "user", "?", time=1),
        node("a1", "q", "assistant", "one", time=2),
        node("t", "a1", "tool", "…", time=3),
        node("a2", "q", "assistant", "two", time=4),
    )
    assert read_one(chatgpt(*nodes, current_node="t")).head_id == "a1"
    heads: list[object] = ["gone", None, 5, []]
    for head in heads:
        assert read_one(chatgpt(*nodes, current_node=head)).head_id == "a2"


def test_chatgpt_circles():
    talking = node("q", "a", "user", "?"), node("a", "q", "assistant", "!")
    with pytest.raises(InvalidRequestError, match="circle"):
        read_one(chatgpt(*talking))
    # Those that are left out can't be asked for a beginning; what follows them is one.
    silent = node("t1", "t2", "tool"), node("t2", "t1", "tool"), node("q", "t1", "user", "?")
    assert said(read_one(chatgpt(*silent))) == [("q", None, "user", "?")]


def test_a_long_chain_of_tools_with_many_children_is_walked_once():
    class Counting(dict[str, str]):
        calls = 0

        def get(self, key, default=None):
            self.calls += 1
            return super().get(key, default)

    parents = Counting({"0": "q"} | {str(i): str(i - 1) for i in range(1, 1000)})
    question = Message("q", None, "user", "?", NOW)
    answers = tuple(Message(f"a{i}", "999", "assistant", "!", NOW) for i in range(100))
    found = assembled(Conversation("c", "Title", "", NOW, NOW, None, (question, *answers)), parents)
    assert {m.parent_id for m in found.messages[1:]} == {"q"}
    assert parents.calls <= 1001


def test_the_good_come_and_the_others_are_counted():
    good = chatgpt(node("q", None, "user", "?"))
    empty = chatgpt(node("root", None))
    imported = read(json.dumps([empty, good, {"title": "a folder"}, 5]), NOW)
    assert [c.id for c in imported.conversations] == ["c-1"]
    assert imported.left_out == 3
    with pytest.raises(InvalidRequestError, match="nobody says anything"):
        read(json.dumps([empty, 5]), NOW)

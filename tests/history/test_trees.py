"""Any sequence of calls leaves a tree, and any text comes back as it was."""

import hashlib
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from chat_ui.chat.messages import Message
from chat_ui.history.store import ROOT, Store

OWNER = hashlib.sha256(b"owner").hexdigest()
# Lone surrogates too, which Python's str holds and no encoding does.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ENDS = ("complete", "length", "stopped", "interrupted", "failed")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One store for all examples, which does not wait for the disk."""
    store = Store.open(tmp_path_factory.mktemp("quick"))

    @event.listens_for(store._transactions.writing, "connect")
    def _(connection, _record):
        connection.execute("PRAGMA synchronous = OFF").close()

    yield store
    store.close()


def check_tree(conversation):
    earlier: dict[str, Message] = {}
    for message in conversation.messages:
        if message.role == "user":
            assert message.parent_id is None or earlier[message.parent_id].role == "assistant"
        else:
            assert earlier[message.parent_id].role == "user"
        earlier[message.id] = message
    path = conversation.path()
    assert [m.role for m in path] == ["user", "assistant"] * (len(path) // 2)
    if path:
        assert path[0].parent_id is None
        assert path[-1].id == conversation.head_id


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_sequence_of_calls_leaves_a_tree(quick, data):
    c = quick.create(OWNER, "New chat", "").id
    questions: list[str] = []
    answers: list[str] = []
    contents: dict[str, str] = {}
    states: dict[str, str] = {}

    for _ in range(data.draw(st.integers(1, 10))):
        act = data.draw(st.sampled_from(["ask", "again", "write"])) if questions else "ask"
        if act == "ask":
            parent = data.draw(st.sampled_from([None, ROOT, *answers]))
            text = data.draw(st.sampled_from(["one", "two"]))
            question, answer = quick.add_question(OWNER, c, text, parent, "")
            questions.append(question.id)
            answers.append(answer.id)
            contents |= {question.id: text, answer.id: ""}
            states |= {question.id: "complete", answer.id: "writing"}
        elif act == "again":
            answer = quick.add_answer(OWNER, c, data.draw(st.sampled_from(questions)))
            answers.append(answer.id)
            contents[answer.id], states[answer.id] = "", "writing"
        else:
            id_ = data.draw(st.sampled_from(answers))
            state = data.draw(st.sampled_from(["writing", "writing", *ENDS]))
            content = contents[id_] + "more "
            open_ = states[id_] == "writing" or (
                states[id_] == "interrupted" and state != "writing"
            )
            assert quick.update_answer(id_, content, state) == open_
            if open_:
                contents[id_], states[id_] = content, state

    conversation = quick.conversation(OWNER, c)
    check_tree(conversation)
    assert {m.id: m.content for m in conversation.messages} == contents
    assert {m.id: m.state for m in conversation.messages} == states
    assert conversation.head_id == answers[-1]


@settings(max_examples=25, deadline=None)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_text_comes_back(quick, title, system_prompt, question_text, answer_text):
    def kept(text):
        return re.sub("[\0\ud800-\udfff]", "\ufffd", text)

    created = quick.create(OWNER, title, system_prompt)
    assert quick.conversation(OWNER, created.id) == created
    assert (created.title, created.system_prompt) == (kept(title), kept(system_prompt))

    question, answer = quick.add_question(OWNER, created.id, question_text, None, answer_text)
    quick.update_answer(answer.id, answer_text, "failed", error=question_text)
    stored = quick.conversation(OWNER, created.id)
    assert stored.system_prompt == kept(answer_text)
    assert stored.messages[0] == question
    assert stored.messages[0].content == kept(question_text)
    assert stored.messages[1].content == kept(answer_text)
    assert stored.messages[1].error == kept(question_text)


@pytest.mark.parametrize(
    "text",
    [
        "\r\n\r",
        "  \t ",
        "\u2028\u0085\x1c",
        "\ufeffbom",
        "e\u0301 \u200f\u202e 👩‍👩‍👧",
        "'; DROP TABLE x",
        "x" * 10**6,
    ],
    ids=ascii,
)
def test_texts_that_others_change(quick, text):
    c = quick.create(OWNER, "New chat", "").id
    question, _ = quick.add_question(OWNER, c, text, None, text)
    assert question.content == text
    assert quick.conversation(OWNER, c).messages[0].content == text
    assert quick.conversation(OWNER, c).system_prompt == text

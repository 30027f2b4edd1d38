"""Whatever a file holds, it is imported or refused with a sentence, and nothing else happens."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.chat.exchange import Imported, read, to_json
from chat_ui.errors import InvalidRequestError
from tests.chat.test_exchange_chatgpt import NOW, chatgpt, node
from tests.chat.test_exchange_open_webui import WEBUI

KEYS = [
    "format", "version", "conversations", "chats", "chat", "mapping", "messages", "history", "id",
    "message", "parent", "parentId", "parent_id", "current_node", "currentId", "author", "role",
    "content", "content_type", "parts", "text", "metadata", "params", "system", "system_prompt",
    "title", "create_time", "created_at", "timestamp", "numbers", "seed", "state", "error", "files",
    "finish_details", "head_id", "q",
]  # fmt: skip
VALUES = ["chat_ui", "user", "assistant", "system", "text", "multimodal_text", "q", "all"]

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers() | st.just(10**400),
    st.floats(),
    st.text(),
    st.sampled_from(VALUES),
)
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=30,
)


def imported_or_refused(text):
    try:
        imported = read(text, NOW)
    except InvalidRequestError:
        return
    for conversation in imported.conversations:
        assert [m.id for m in conversation.path()[-1:]] == [
            m.id for m in conversation.messages if m.id == conversation.head_id
        ]
        seen: set[str | None] = {None}
        for message in conversation.messages:
            assert message.parent_id in seen
            seen.add(message.id)
        assert conversation.head_id in seen
    # Whatever came in can be exported, and comes in again.
    again = read(to_json(imported.conversations, NOW), NOW)
    assert again == Imported(imported.conversations)


@given(st.text() | st.text('[]{}",:0123456789.eE-"\\u ntrf'))
def test_any_text_is_imported_or_refused(text):
    imported_or_refused(text)


@given(documents)
def test_any_json_is_imported_or_refused(document):
    imported_or_refused(json.dumps(document))


SAMPLES = {
    "ours": json.loads(to_json(read(json.dumps(WEBUI), NOW).conversations, NOW)),
    "chatgpt": [chatgpt(node("root", None), node("q", "root", "user", "?", time=1))],
    "open_webui": [WEBUI],
}


def places(document, path=()):
    """The path to every value of a document."""
    yield path
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        yield from places(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=50)
@given(data=st.data())
def test_any_value_of_a_good_file_may_be_wrong(name, data):
    document = json.loads(json.dumps(SAMPLES[name]))
    *way, last = data.draw(st.sampled_from([path for path in places(document) if path]))
    inner = document
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(documents)
    imported_or_refused(json.dumps(document))

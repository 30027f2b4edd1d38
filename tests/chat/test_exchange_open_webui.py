"""Open WebUI's files, made by hand after real ones."""

import pytest

from tests.chat.test_exchange_chatgpt import BEGUN, at, read_one, said


def webui_message(id_, parent, role, content, time, **given_):
    return {
        "id": id_,
        "parentId": parent,
        "childrenIds": [],
        "role": role,
        "content": content,
        "timestamp": BEGUN + time,
        **given_,
    }


def webui(*messages, chat=None, current=None, **given_):
    return {
        "id": "w-1",
        "user_id": "u",
        "title": "Trip",
        "chat": {
            "id": "",
            "title": "Trip",
            "models": ["llama3:8b"],
            "params": {},
            "history": {
                "messages": {each["id"]: each for each in messages},
                "currentId": current or messages[-1]["id"],
            },
            "messages": [],
            "tags": [],
            "timestamp": (BEGUN + 3) * 1000,
            **(chat or {}),
        },
        "created_at": BEGUN,
        "updated_at": BEGUN + 60,
        "archived": False,
        "meta": {},
        **given_,
    }


WEBUI = webui(
    webui_message("q1", None, "user", "Where to?", 1, models=["llama3:8b"],
                  files=[{"type": "image", "url": "data:"}, {"type": "file", "name": "a.pdf"}]),
    webui_message("a1", "q1", "assistant", "Oslo.", 2, model="llama3:8b", modelName="Llama 3"),
    webui_message("a2", "q1", "assistant", "Rome.", 4, model="llama3:8b", done=True),
    webui_message("tool", "a2", "tool", "…", 5),
    webui_message("q2", "tool", "user", [{"type": "text", "text": "When?"},
                                         {"type": "image_url", "image_url": {}}], 6,
                  error={"content": "Odd."}, done=False),
    webui_message("a3", "q2", "assistant", "", 7, error={"content": "No memory."}),
    webui_message("a4", "q2", "assistant", "In M", 8, done=False),
    webui_message("a5", "q2", "assistant", "", 9, done=False),
    current="a3",
)  # fmt: skip


def test_open_webui_branches_files_and_errors():
    found = read_one([WEBUI])
    assert said(found) == [
        ("q1", None, "user", "Where to?\n\n[image]\n\n[file]"),
        ("a1", "q1", "assistant", "Oslo."),
        ("a2", "q1", "assistant", "Rome."),
        ("q2", "a2", "user", "When?\n\n[image]"),
        ("a3", "q2", "assistant", ""),
        ("a4", "q2", "assistant", "In M"),
    ]
    assert found.head_id == "a3"
    assert (found.id, found.title, found.system_prompt) == ("w-1", "Trip", "")
    assert (found.created_at, found.updated_at) == (at(0), at(60))
    assert found.messages[1].created_at == at(2)
    assert [m.numbers.model for m in found.messages[:3]] == [None, "Llama 3", "llama3:8b"]
    assert [(m.state, m.error) for m in found.messages[2:]] == [
        ("complete", None),
        ("complete", None),
        ("failed", "No memory."),
        ("interrupted", None),
    ]


def test_open_webui_in_every_wrapping():
    whole = read_one([WEBUI])
    assert read_one(WEBUI) == whole
    assert read_one({"chats": [WEBUI]}) == whole
    bare = read_one(WEBUI["chat"])
    assert bare.messages[0].content == whole.messages[0].content
    # The bare chat's own time is in milliseconds.
    assert (bare.created_at, bare.title) == (at(3), "Trip")


@pytest.mark.parametrize(
    ("chat", "prompt"),
    [
        ({"params": {"system": "Own."}, "system": "General."}, "Own."),
        ({"params": {"system": ""}, "system": "General."}, "General."),
        ({"params": None, "system": 5}, "Said."),
    ],
)
def test_open_webui_system_prompts(chat, prompt):
    system = webui_message("s", None, "system", "Said.", 0)
    item = webui(system, webui_message("q", "s", "user", "?", 1), chat=chat)
    found = read_one(item)
    assert found.system_prompt == prompt
    assert said(found) == [("q", None, "user", "?")]


def test_open_webui_older_lists():
    listed = [
        {"role": "user", "content": "?"},
        None,
        {"role": "assistant", "content": "!", "error": True},
    ]
    found = read_one([{"title": "Old", "messages": listed, "created_at": BEGUN}])
    assert said(found) == [("0", None, "user", "?"), ("2", "0", "assistant", "!")]
    assert found.head_id == "2"
    assert (found.messages[1].state, found.messages[1].error) == ("failed", None)
    assert found.created_at == at(0)


def test_open_webui_head_is_also_in_the_row():
    item = webui(webui_message("q", None, "user", "?", 1), webui_message("r", None, "user", "!", 2))
    item["chat"]["history"]["currentId"] = None
    assert read_one({**item, "current_message_id": "q"}).head_id == "q"
    assert read_one(item).head_id == "r"

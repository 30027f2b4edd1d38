"""Conversations out as files and in again, in a browser."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.chat import (
    answers,
    button,
    new_chat,
    open_chat,
    questions,
    send,
    wait_until_answered,
)


def export(page: Page, name: str, folder: Path, which: int = 0) -> Path:
    """Export by a button of the menu; the file."""
    button(page, "Export").click()
    with page.expect_download() as download:
        page.get_by_role("group", name="Export").get_by_role("button", name=name).nth(which).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def import_file(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        button(page, "Import").click()
    chooser.value.set_files(path)


def test_what_was_exported_is_imported_again_with_its_versions(chat, tmp_path):
    send(chat, "Alpha **bold**")
    wait_until_answered(chat, 1)
    button(chat, "Regenerate").click()
    expect(chat.locator(".where")).to_have_text("2 / 2")
    button(chat, "Stop").wait_for(state="hidden")
    path = export(chat, "JSON, with all versions", tmp_path)
    assert path.suffix == ".json"
    [exported] = json.loads(path.read_text("utf-8"))["conversations"]
    assert exported["messages"][0]["content"] == "Alpha **bold**"
    assert len(exported["messages"]) == 3
    first = chat.url
    import_file(chat, path)
    expect(chat).not_to_have_url(first)
    expect(answers(chat)).to_have_text(["You said: Alpha bold"])
    expect(chat.get_by_role("alert")).to_contain_text("Imported 1 conversation.")
    expect(chat.locator(".where")).to_have_text("2 / 2")
    expect(chat.get_by_role("navigation", name="Conversations").get_by_role("link")).to_have_count(
        2
    )


def test_all_conversations_and_markdown(chat, tmp_path):
    for text in ("Alpha", "Beta"):
        new_chat(chat)
        send(chat, text)
        wait_until_answered(chat, 1)
    everything = export(chat, "JSON, to import again", tmp_path)
    assert len(json.loads(everything.read_text("utf-8"))["conversations"]) == 2
    one = export(chat, "Markdown, to read", tmp_path).read_text("utf-8")
    assert "You said: Beta" in one
    assert "Alpha" not in one
    both = export(chat, "Markdown, to read", tmp_path, which=1).read_text("utf-8")
    assert "You said: Beta" in both
    assert "You said: Alpha" in both


def test_a_conversation_is_copied_as_markdown(new_context, server):
    context = new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    open_chat(page, server.url)
    send(page, "Alpha **bold**")
    wait_until_answered(page, 1)
    button(page, "Export").click()
    button(page, "Copy as Markdown").click()
    expect(page.get_by_role("alert")).to_contain_text("copied")
    assert "You said: Alpha **bold**" in page.evaluate("navigator.clipboard.readText()")


def test_on_the_first_screen_there_is_no_conversation_to_export(chat):
    button(chat, "Export").click()
    menu = chat.get_by_role("group", name="Export")
    expect(menu.get_by_role("button", name="JSON, with all versions")).to_be_disabled()
    expect(menu.get_by_role("button", name="JSON, to import again")).to_be_focused()
    chat.keyboard.press("Escape")
    expect(menu).to_be_hidden()


def test_chatgpt_s_export_is_imported(chat, tmp_path):
    def node(id_: str, parent: str | None, role: str, text: str, *children: str) -> dict[str, Any]:
        content = {"content_type": "text", "parts": [text]}
        message = {"id": id_, "author": {"role": role}, "content": content, "create_time": 1.7e9}
        return {"id": id_, "message": message, "parent": parent, "children": list(children)}

    mapping = {
        "r": {"id": "r", "message": None, "parent": None, "children": ["q"]},
        "q": node("q", "r", "user", "What is a whale?", "a"),
        "a": node("a", "q", "assistant", "A mammal."),
    }
    exported = [{"title": "Whales", "create_time": 1.7e9, "mapping": mapping, "current_node": "a"}]
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(exported), "utf-8")
    import_file(chat, path)
    expect(questions(chat)).to_have_text(["What is a whale?"])
    expect(answers(chat)).to_have_text(["A mammal."])
    expect(chat.get_by_role("heading", name="Older")).to_be_visible()


@pytest.mark.parametrize("text", ["no json", "[]", '{"conversations": 5}', ""])
def test_a_file_that_holds_no_conversations_is_told_as_such(chat, tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text, "utf-8")
    import_file(chat, path)
    expect(chat.get_by_role("alert")).to_contain_text("can be imported")
    expect(button(chat, "Import")).to_be_enabled()

"""What has to be true of the page however it is drawn: built once, and never launched."""

import inspect
import json
import re
from typing import Any

import gradio as gr
import pytest
from gradio.i18n import I18nData

from chat_ui.models.quantization import PRECISIONS, QUANTIZATIONS
from chat_ui.service import PRECISION_LABELS, temporary
from chat_ui.settings import Settings
from chat_ui.ui import islands, page, view
from chat_ui.ui.panels import PANELS, appearance, model, system_prompt
from chat_ui.ui.texts import ENGLISH
from tests.ui.conftest import FakeService, on_this_thread


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    service = FakeService(Settings(data_dir=tmp_path_factory.mktemp("data")))
    built = page.build_page(service)  # type: ignore[arg-type]
    assert service.called == [], "building the page must open nothing"
    return built


def test_the_page_drops_the_texts_that_it_keeps_when_chats_are_gone_for_good(tmp_path):
    service = FakeService(Settings(data_dir=tmp_path))
    page.build_page(service)  # type: ignore[arg-type]
    assert service.forgetters == [view.forget]


def of_type(demo: gr.Blocks, kind: type) -> list[Any]:
    return [block for block in demo.blocks.values() if isinstance(block, kind)]


def english(text: Any) -> Any:
    """What a component says in English, whose text may be a key."""
    if isinstance(text, str) and text.startswith("__i18n__"):  # as a button keeps its own
        return ENGLISH(json.loads(text.removeprefix("__i18n__"))["key"])
    return ENGLISH(text.key) if isinstance(text, I18nData) else text


def labelled(demo: gr.Blocks, label: str):
    (found,) = [b for b in demo.blocks.values() if english(getattr(b, "label", None)) == label]
    return found


def test_the_chatbot_is_an_input_of_no_event(demo):
    (chat,) = of_type(demo, gr.Chatbot)
    assert len(demo.fns) >= 15
    assert not [fn for fn in demo.fns.values() if chat in fn.inputs]


def test_only_the_follower_writes_to_the_chatbot(demo):
    (chat,) = of_type(demo, gr.Chatbot)
    writers = {fn.name for fn in demo.fns.values() if chat in fn.outputs}
    assert writers == {"follow"}


def test_a_stream_touches_neither_the_message_box_nor_the_panels(demo):
    touched = {
        type(output)
        for fn in demo.fns.values()
        if fn.fn is not None and inspect.isasyncgenfunction(fn.fn)
        for output in fn.outputs
    }
    assert touched == {gr.Chatbot, gr.HTML}


def test_nothing_keeps_a_connection_or_state_per_visitor(demo):
    assert not of_type(demo, gr.State)
    assert not of_type(demo, gr.BrowserState)
    assert not of_type(demo, gr.Timer)
    assert not [fn for fn in demo.fns.values() if any(t[1] == "unload" for t in fn.targets)]
    assert not [fn for fn in demo.fns.values() if fn.cancels]


def test_every_handler_leaves_the_event_loop_free(demo):
    """A plain function would need one of Gradio's threads, which followers may have used up."""
    backend = [fn.fn for fn in demo.fns.values() if fn.fn is not None]
    assert backend
    for handler in backend:
        is_async = inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)
        assert is_async, handler


def test_no_event_is_a_programming_interface(demo):
    assert {fn.api_visibility for fn in demo.fns.values()} == {"private"}
    assert demo.api_open is False


def test_the_queue_has_a_limit_and_followers_have_none(demo):
    assert demo._queue.max_size == page.QUEUE_SIZE
    assert {fn.concurrency_limit for fn in demo.fns.values() if fn.name == "follow"} == {None}


def test_raw_values_come_to_our_own_checks(demo):
    """Gradio would refuse a slider's value with a message of its own, and forget the text."""
    assert not [fn for fn in demo.fns.values() if fn.fn is not None and fn.preprocess]


@pytest.mark.parametrize(
    "label",
    [
        *("Message", "System prompt", "Temperature", "Top-p"),
        *("Max new tokens", "Top-k", "Min-p", "Repetition penalty", "Seed", "Stop strings"),
        "Assisted generation",
        "Start the answer with",
    ],
)
def test_every_control_is_there_once(demo, label):
    assert labelled(demo, label)


@pytest.mark.parametrize("text", ["Send", "Stop", "New chat", "Regenerate", "Continue"])
def test_every_button_is_there_once(demo, text):
    assert (
        len([button for button in of_type(demo, gr.Button) if english(button.value) == text]) == 1
    )


def test_the_chatbot_shows_formulas_and_unknown_tags_and_does_not_scroll(demo):
    (chat,) = of_type(demo, gr.Chatbot)
    assert chat.allow_tags is True
    assert chat.sanitize_html is True
    assert chat.autoscroll is False
    assert chat.buttons == ["copy"]
    assert not [d for d in chat.latex_delimiters if d["left"].strip("\u2060") == "$"]


def model_island(demo: gr.Blocks) -> Any:
    (found,) = [html for html in of_type(demo, gr.HTML) if html.elem_id == "model-island"]
    return found


def test_where_the_model_is_fixed_the_page_begins_with_all_of_it_off(demo, tmp_path):
    assert model_island(demo).value["is_fixed"] is False
    space = Settings(data_dir=tmp_path, door="space")
    fixed = model_island(page.build_page(FakeService(space)))  # type: ignore[arg-type]
    assert fixed.value["is_fixed"] is True


def test_no_template_holds_a_value(demo):
    """Gradio would run a value in a template as JavaScript."""
    templates = [html for html in of_type(demo, gr.HTML) if html.elem_id]
    assert len(templates) == 10
    for html in templates:
        assert "${" not in html.html_template
        assert "{{" not in html.html_template


def test_each_panel_has_its_own_controls(tmp_path):
    service = FakeService(Settings(data_dir=tmp_path))
    with gr.Blocks():
        names = [name for panel in PANELS for name in panel.build(service, on_this_thread)]  # type: ignore[arg-type]
    assert len(names) == len(set(names)) >= 10


def test_launch_takes_what_the_page_gives():
    options = page.launch_options()
    assert set(options) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert {"theme", "head", "i18n"} <= set(options)


def test_the_page_fetches_nothing_from_elsewhere():
    options = page.launch_options()
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s'\"]*", options["head"])
    assert {url for url in outside if "www.w3.org" not in url} == set()
    assert not [sheet for sheet in options["theme"]._stylesheets if sheet]


def test_send_is_given_what_its_script_fills_in(demo):
    """The script replaces the values by their place."""
    sends = [fn for fn in demo.fns.values() if fn.name == "send"]
    assert len(sends) == 2
    for fn in sends:
        labels = [english(block.label) for block in fn.inputs[:5]]
        assert labels == [
            "Message", "Edited message", "Temporary", "Conversation", "Shown message",
        ]  # fmt: skip
    script = (page.ASSETS / "js" / "page.js").read_text(encoding="utf-8")
    assert "sending([text, , , conversation, , ...values])" in script
    first = "text, page.edited, beginsTemporary(), conversation, shownIn(conversation)"
    assert f"values.unshift({first});" in script


def test_regenerate_and_continue_are_given_what_their_script_fills_in(demo):
    asks = [fn for fn in demo.fns.values() if fn.name in ("regenerate", "go_on")]
    assert len(asks) == 2
    for fn in asks:
        labels = [english(block.label) for block in fn.inputs[:2]]
        assert labels == ["Conversation", "Shown message"]
    script = (page.ASSETS / "js" / "page.js").read_text(encoding="utf-8")
    assert "return [conversation, shownIn(conversation), ...values];" in script


def test_the_first_screen_offers_a_temporary_chat():
    assert 'type="checkbox" id="temporary"' in islands.WELCOME
    assert '<span data-text="welcome.temporary"></span></label>' in islands.WELCOME
    assert 'data-text="welcome.temporary_note"' in islands.WELCOME
    assert "gone an hour after its last message." in ENGLISH("welcome.temporary_note")
    assert temporary.LIFE_S == 3600


def test_no_script_makes_html_of_a_text():
    scripts = [file.read_text(encoding="utf-8") for file in (page.ASSETS / "js").glob("*.js")]
    assert scripts
    html = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML"
    assert not [found for script in scripts for found in re.findall(html, script)]


def test_every_note_of_a_setting_is_written_by_the_script(demo):
    script = (page.ASSETS / "js" / "pulse.js").read_text(encoding="utf-8")
    values = [html.value for html in of_type(demo, gr.HTML) if "setting-note" in str(html.value)]
    ids = re.findall(r'id="([\w-]+)"', "".join(values))
    assert ids == ["note-seed", "note-assisted"]
    for id_ in ids:
        assert f'byId("{id_}")' in script


def test_the_script_mounts_every_island():
    script = (page.ASSETS / "js" / "page.js").read_text(encoding="utf-8")
    source = "".join(map(inspect.getsource, (islands, page, appearance, model, system_prompt)))
    names = set(re.findall(r"island\(\"(\w+)\"", source))
    assert names == {
        "bar", "rail", "welcome", "status", "outcome", "context", "look", "detail", "model",
        "prompts", "owner",
    }  # fmt: skip
    for name in names:
        assert re.search(rf"^\s+{name}: ", script, re.MULTILINE), name


def test_precisions_are_those_that_can_be_loaded(demo):
    main = [name for name, q in QUANTIZATIONS.items() if not q.is_kind_of]
    assert list(QUANTIZATIONS) == list(PRECISIONS)
    assert {name: ENGLISH.precision(name) for name in QUANTIZATIONS} == PRECISION_LABELS
    assert model_island(demo).value["precisions"] == main


def test_the_panel_s_script_asks_for_functions_that_there_are(demo, tmp_path):
    script = (page.ASSETS / "js" / "models.js").read_text(encoding="utf-8")
    fixed = page.build_page(FakeService(Settings(data_dir=tmp_path, door="share")))  # type: ignore[arg-type]
    served = {fn.__name__ for one in (demo, fixed) for fn in model_island(one).server_fns}
    assert set(re.findall(r'(?:ask|tell)\("(\w+)"', script)) == served


@pytest.mark.parametrize(
    ("elem_id", "scripts", "pattern"),
    [
        ("rail-island", ("rail", "files"), r'(?:call|change)\("(\w+)"'),
        ("context-island", ("context",), r"context\.server\.(\w+)"),
        ("status-island", ("messages", "editing"), r'(?:call\("|status\.server\.)(\w+)'),
    ],
)
def test_the_scripts_ask_for_functions_that_there_are(demo, elem_id, scripts, pattern):
    (found,) = [html for html in of_type(demo, gr.HTML) if html.elem_id == elem_id]
    texts = [(page.ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8") for name in scripts]
    assert set(re.findall(pattern, "".join(texts))) == {fn.__name__ for fn in found.server_fns}


def test_the_panel_s_script_finds_what_the_template_has():
    scripts = [
        (page.ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8")
        for name in ("models", "card", "picker")
    ]
    ids = set(re.findall(r'at\("#([\w-]+)"', "".join(scripts)))
    assert ids
    assert ids <= set(re.findall(r'id="([\w-]+)"', model.TEMPLATE))

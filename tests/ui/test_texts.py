"""The page's texts: five languages that say the same, and nothing said but from them."""

import json
import re
from dataclasses import replace
from string import Formatter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import Message, Numbers
from chat_ui.chat.recipe import Recipe
from chat_ui.service import Choice, ChoiceGroup, Loading, Measured, ModelStatus, ReplySnapshot
from chat_ui.ui import details, model_card, model_line, page, status, view
from chat_ui.ui.texts import (
    ENGLISH,
    FOLDER,
    LANGUAGES,
    Texts,
    for_page,
    language_of,
    texts,
    texts_for,
    translations,
)
from tests.ui.conftest import FITS, READY, card_of, conversation_of

OTHERS = LANGUAGES[1:]
SOURCES = [
    *page.ASSETS.joinpath("js").glob("*.js"),
    *FOLDER.parents[1].rglob("chat_ui/ui/**/*.py"),
    FOLDER.parents[1] / "chat_ui" / "web" / "login.py",
]
CODE = "\n".join(file.read_text("utf-8") for file in SOURCES)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def forms(entry: str | dict[str, str]) -> dict[str, str]:
    return {"other": entry} if isinstance(entry, str) else entry


# ---- the catalogue ----


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_the_same_texts_with_the_same_places(language):
    entries = texts(language).entries
    assert list(entries) == list(ENGLISH.entries)
    for key, entry in ENGLISH.entries.items():
        ours, theirs = forms(entry), forms(entries[key])
        assert set(theirs) == set(ours), key
        assert places(theirs["other"]) == places(ours["other"]), key
        assert places(theirs.get("one", "")) <= places(ours["other"]), key


def test_there_are_these_languages_and_no_empty_text():
    assert {file.stem for file in FOLDER.iterdir()} == set(LANGUAGES)
    for language in LANGUAGES:
        for key, entry in texts(language).entries.items():
            assert set(forms(entry)) in ({"other"}, {"one", "other"}), key
            assert all(text.strip() == text != "" for text in forms(entry).values()), key


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_not_a_name_is_translated(language):
    """Few words are the same in two languages; of a sentence none is."""
    entries = texts(language).entries
    same = {key for key, entry in ENGLISH.entries.items() if entries[key] == entry}
    assert not [key for key in same if len(forms(ENGLISH.entries[key])["other"].split()) > 3]
    assert len(same) < 40


def test_every_text_is_used_and_every_one_that_is_used_is_there():
    """Keys are written out in the code, but for the last part of some: `rail.${name}`."""
    tables = "|".join({key.split(".")[0] for key in ENGLISH.entries})
    written = set(re.findall(rf"[\"'`=]((?:{tables})\.[\w-]+)[\"'`]", CODE))
    begun = set(re.findall(rf"[\"'`]((?:{tables})\.\w*)(?:\$?\{{)", CODE))
    assert written
    assert written <= set(ENGLISH.entries) | {"context.server"}
    beside = {f"{key}_text" for key in written}  # of the library of prompts
    of_sliders = {key for key in ENGLISH.entries if key.startswith("settings.")}
    unused = set(ENGLISH.entries) - written - beside - of_sliders
    assert not [key for key in unused if not key.startswith(tuple(begun))]
    assert begun <= {
        *("rail.", "message.", "precision.", "settings.", "status.", "line.", "card."),
        *("quantity.", "refusal."),
    }


# ---- a text ----


def test_a_count_chooses_the_form():
    assert ENGLISH("quantity.tokens", 1) == "1 token"
    assert ENGLISH("quantity.tokens", 0) == "0 tokens"
    assert ENGLISH("quantity.tokens", 1_234) == "1,234 tokens"
    assert texts("fr")("quantity.tokens", 0) == "0 token"
    assert texts("zh")("quantity.tokens", 1) == "1 个 token"


@pytest.mark.parametrize(
    ("language", "large", "small"),
    [
        ("en", "12,345.5", "1,234"),
        ("de", "12.345,5", "1.234"),
        ("fr", "12\u202f345,5", "1\u202f234"),
        ("es", "12.345,5", "1234"),
        ("zh", "12,345.5", "1,234"),
    ],
)
def test_numbers_are_written_as_the_language_does(language, large, small):
    say = texts(language)
    assert (say.number(12_345.5, 1), say.number(1_234)) == (large, small)


def test_a_text_that_is_not_there_or_not_filled_is_an_error():
    with pytest.raises(KeyError):
        ENGLISH("status.none_such")
    with pytest.raises(KeyError):
        ENGLISH("status.loading")


# ---- whose language ----


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr;q=0.9 , de", "fr"),
        ("es-419", "es"),
        ("zh-CN,zh;q=0.9", "zh"),
        ("zh-TW", "zh"),
        # As Gradio has it, in whose components the page's other half is.
        ("it,fr;q=0.5", "en"),
        ("zh-HK,zh;q=0.9", "en"),
        ("denmark", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_browser_s_first_language_is_taken(header, language):
    assert language_of(header) == language


@given(st.text() | st.from_regex(r"([a-z]{2}(-[A-Z]{2})?(;q=[0-9.]+)?,? ?)*", fullmatch=True))
def test_any_header_gives_a_language(header):
    assert language_of(header) in LANGUAGES


def test_a_request_without_the_header_is_answered_in_english():
    assert texts_for(None) is ENGLISH
    assert texts_for(SimpleNamespace(request=SimpleNamespace(state=None))) is ENGLISH
    plain = SimpleNamespace(headers={"accept-language": "fr"})
    assert texts_for(plain).language == texts_for(SimpleNamespace(request=plain)).language == "fr"


# ---- for the browser ----


def test_the_page_is_given_its_texts_and_not_the_server_s():
    given = json.loads(for_page())
    assert set(given) == set(LANGUAGES)
    assert given["de"]["rail.search"] == "Unterhaltungen suchen"
    assert "card.fits" not in given["en"]


def test_no_text_can_end_the_script_that_it_stands_in(monkeypatch):
    monkeypatch.setattr("chat_ui.ui.texts.texts", lambda _: Texts("en", {"page.a": "</script><b>"}))
    assert "<" not in for_page()
    assert json.loads(for_page())["en"] == {"page.a": "</script><b>"}


def test_gradio_has_its_components_texts_by_its_own_names_of_the_languages():
    assert set(translations()) == {"en", "de", "fr", "es", "zh-CN", "zh-TW"}
    assert translations()["zh-CN"]["controls.send"] == "发送"


def test_the_scripts_hear_of_the_texts_first():
    head = page.launch_options()["head"]
    begins = [
        head.index(text) for text in ('id="chat-ui-texts"', "function fillTexts", "ui.announcer")
    ]
    assert begins == sorted(begins)


# ---- what the server says ----

NUMBERS = Numbers(
    model="№",
    precision="8bit",
    prompt_tokens=1_874,
    reused_tokens=1_820,
    completion_tokens=57,
    first_token_s=0.12,
    thought_s=3.0,
    decode_tokens_per_s=18.2,
    drafted_tokens=100,
    accepted_tokens=50,
    assisted_speedup=1.5,
    dropped_messages=2,
    seed=7,
)
SETTINGS = GenerationConfig(
    temperature=0.5, top_k=4, min_p=0.1, repetition_penalty=1.1, assisted=True, seed=7
)
_MEASURED = Measured(
    tokens_per_s=19.0, forecast_tokens_per_s=20.0, growth_bytes=10**9, forecast_growth_bytes=10**9
)
_BARE = Measured(tokens_per_s=19.0, weight_bytes=10**9, forecast_weight_bytes=10**9)
_UNITS = re.compile(r"/s|\d[\d.]*[KMBTk]\b|b?float\d+|\d\d:\d\d UTC")


class Pseudo(Texts):
    """A language in which only what is filled in can be read: a letter in it is not from a text."""

    def __init__(self) -> None:
        entries = {}
        for key, entry in ENGLISH.entries.items():
            filled = " ".join(f"{{{name}}}" for name in sorted(places(forms(entry)["other"])))
            entries[key] = f"«{filled}»"
        super().__init__("en", entries)


def strings(value: Any, *but: str) -> list[str]:
    """All texts in a value, without those of these names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for name, one in value.items() if name not in but for t in strings(one, *but)]
    return (
        [t for one in value for t in strings(one, *but)] if isinstance(value, list | tuple) else []
    )


def untranslated(value: Any, *but: str) -> list[str]:
    return [text for text in strings(value, *but) if re.search("[A-Za-z]", _UNITS.sub("", text))]


def answer(**changes: Any) -> Message:
    made = replace(conversation_of("1", "2").messages[-1], numbers=NUMBERS)
    return replace(made, recipe=Recipe("", SETTINGS, "1", True), **changes)


IDS = ("conversation", "head", "title", "version", "role", "id", "status", "type")


@pytest.mark.parametrize("state", ["complete", "length", "stopped", "interrupted", "failed"])
def test_what_is_said_of_an_answer_is_all_from_the_texts(state):
    say, conversation = Pseudo(), conversation_of("1", "2", conversation_id="t1")
    conversation = replace(conversation, messages=(conversation.messages[0], answer(state=state)))
    now = status.conversation_status(conversation, 0, say)
    assert now["text"]
    assert len(now["notes"]) == 2
    assert not untranslated(now, *IDS)
    empty = answer(state=state, content="<think>\n1\n</think>")
    conversation = replace(conversation, messages=(conversation.messages[0], empty))
    assert not untranslated(view.messages(conversation, say=say), *IDS)
    assert not untranslated(details.details(empty, say))
    assert not untranslated(details.details(conversation.messages[0], say))


@pytest.mark.parametrize("phase", ["queued", "loading", "reading", "thinking", "writing"])
def test_what_is_said_while_one_is_written_is_all_from_the_texts(phase):
    now = ReplySnapshot(1, phase, "1", "writing", None, NUMBERS)
    said = status.writing_status(
        conversation_of("1", "2"), 0, now, replace(READY, label="№"), Pseudo()
    )
    assert "«" in said["text"]
    assert not untranslated(said, *IDS)


@pytest.mark.parametrize(
    "stage", ["checking", "downloading", "making room", "reading", "quantizing", "warming up"]
)
@pytest.mark.parametrize("total", [None, 100])
@pytest.mark.parametrize("measured", [None, _MEASURED, _BARE])
def test_what_is_said_of_the_model_is_all_from_the_texts(stage, total, measured):
    loading = Loading("№", "№", "8bit", stage, 10, total, 2e6, 90.0)
    model = ModelStatus(1, "ready", "№", "№", "8bit", "float32", loading=loading)
    model = replace(
        model, others=("№",), drafter="№", folds_system_prompt=True, measured=measured,
        weight_bytes=10, quantized_modules=(("№", 1),), left_modules=(("№", 1),),
    )  # fmt: skip
    for one in (
        model,
        replace(model, is_mixture=True, repeats_in_company=True, loading=None),
        replace(model, drafter="", phase="failed", precision="full"),
        replace(model, phase="loading", loading=replace(loading, is_cancelled=True)),
    ):
        said = model_line.model_line(one, Pseudo())
        assert not untranslated(said, "phase", "precision")


@pytest.mark.parametrize("fits", ["fits", "tight", "no"])
def test_what_is_said_of_models_to_choose_from_is_all_from_the_texts(fits):
    choice = Choice(
        "1", "№", 2_000, active_parameters=1_000, licence="№", downloads=1, likes=1,
        verdict=fits, precision="4bit", disk_bytes=10, is_gated=True,
    )  # fmt: skip
    say = Pseudo()
    kinds = ("here", "fits", "tight", "no", "unknown")
    groups = [ChoiceGroup(kind, (choice,)) for kind in kinds]  # type: ignore[arg-type]
    assert not untranslated(model_card.groups(groups, say), "verdict", "tags")
    forecast = replace(FITS, verdict=fits, missing_bytes=5, prompt_tokens_per_s=1e5)
    for one in (forecast, replace(forecast, missing_bytes=0, load_peak_bytes=10**12), None):
        for changes in ({}, {"is_exact": False, "download_bytes": 0, "quantized_as": "№"}):
            card = card_of(choice, one, machine="№", **changes)
            said = model_card.card(card, say)
            assert not untranslated(said, "verdict", "id", "kind", "kind_of", "suggested", "ask_at")

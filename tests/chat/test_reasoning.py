"""Thoughts and answers told apart: whole, while they grow, and where nothing is a thought."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.reasoning import FORMATS, Split, ThoughtWatch, mark_spans, split, without_thoughts

GPT_OSS = (
    "<|channel|>analysis<|message|>Let me see.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>42"
)
MARKS = [mark for form in FORMATS for mark in (form.opening, form.closing, *form.joints)]

pieces = st.one_of(
    st.sampled_from([*MARKS, "\n", " ", "a", "b <i>", "```\n", "1 < 2", "[x]", "<|"]),
    st.text(max_size=5),
)
texts = st.lists(pieces, max_size=12).map("".join)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.opening.strip())
def test_every_format(form):
    text = f"{form.opening}\nHm.\n{form.closing}\n\n{''.join(form.joints)}Yes.\n"
    assert split(text) == Split("Hm.", "Yes.\n")
    assert without_thoughts(text) == "Yes.\n"


def test_channels_of_gpt_oss():
    assert split(GPT_OSS) == Split("Let me see.", "42")
    assert split("<|channel|>final<|message|>42") == Split("", "42")
    for end in range(len(GPT_OSS)):
        now = split(GPT_OSS[:end], is_writing=True)
        assert now.answer in ("", "4")
        assert "<" not in now.thought


def test_several_thoughts_at_the_beginning():
    text = "<think>One</think>\n<think>Two</think> Three <think>four</think>"
    assert split(text) == Split("One\n\nTwo", "Three <think>four</think>")


@pytest.mark.parametrize(
    "text",
    [
        "The tag <think> opens a thought, </think> closes it.",
        "```\n<think>\n```",
        "`<think>`",
        "</think> alone",
        "<thin king>",
        "  indented code stays\n",
        "",
    ],
)
def test_elsewhere_a_mark_is_text(text):
    assert split(text) == Split("", text)


def test_a_thought_in_which_nothing_was_thought():
    assert split("<think>\n\n</think>\n\nHi") == Split("", "Hi")


def test_a_thought_that_was_cut_off_is_one():
    assert split("<think>\nLet me") == Split("Let me", "")
    assert split("<think>Let me</thi") == Split("Let me</thi", "")
    assert split("<think>\nLet me", is_writing=True) == Split("Let me", "", is_thinking=True)
    assert without_thoughts("<think>\nLet me") == ""


def test_a_thought_that_was_opened_twice():
    twice = "<think>\n<think>\nHm</think>Yes"
    assert split(twice) == Split("Hm", "Yes")
    for end in range(len("<think>"), twice.index("Hm")):
        assert split(twice[:end], is_writing=True) == Split("", "", is_thinking=True)


def test_the_beginning_of_a_mark_does_not_flash():
    text = "<think>Hm</think>\n\nYes"
    seen = {split(text[:end], is_writing=True) for end in range(len(text) + 1)}
    assert {now.thought for now in seen} == {"", "H", "Hm"}
    assert {now.answer for now in seen} == {"", "Y", "Ye", "Yes"}
    assert split("<thi", is_writing=True).answer == ""
    assert split("<this", is_writing=True).answer == "<this"
    assert split("<thi").answer == "<thi"  # nothing follows any more


words = st.text(st.characters(exclude_characters="<[|]>"), max_size=20)
blanks = st.text(st.sampled_from(" \n\t"), max_size=3)


@given(
    st.lists(st.tuples(blanks, st.sampled_from(FORMATS), words, blanks), max_size=3),
    words.map(str.lstrip),
)
def test_nothing_is_lost_but_marks_and_white_space(thoughts, answer):
    text = "".join(
        f"{before}{form.opening}{thought}{form.closing}{after}{''.join(form.joints)}"
        for before, form, thought, after in thoughts
    )
    parts = split(text + answer)
    assert parts.answer == answer
    assert parts.thought == "\n\n".join(filter(None, (item[2].strip() for item in thoughts)))


@given(texts)
def test_nothing_is_made_up_or_put_elsewhere(text):
    parts = split(text)
    assert text.endswith(parts.answer)
    rest = iter(text)
    assert all(char in rest for char in "".join((parts.thought + parts.answer).split()))


@given(texts)
def test_what_was_shown_as_the_answer_stays_it(text):
    shown = ""
    for end in range(len(text) + 1):
        now = split(text[:end], is_writing=True)
        assert now.answer.startswith(shown)
        assert not (now.answer and now.is_thinking)
        shown = now.answer
    done = split(text)
    assert done.answer.startswith(shown)
    assert not done.is_thinking


@given(texts)
def test_every_mark_is_thought_or_answer_s_or_has_a_place(text):
    parts, at, thought = split(text), 0, ""
    for start, end in mark_spans(text):
        assert text[start:end] in MARKS
        thought += text[at:start]
        at = end
    rest = text[at:] if parts.answer or not at else ""
    thought += "" if rest else text[at:]
    assert "".join(thought.split()) == "".join(parts.thought.split())
    assert rest.endswith(parts.answer)
    assert not rest.removesuffix(parts.answer).strip()


def test_marks_that_somebody_writes_about_have_no_place():
    text = "<think>A [THINK] and <|start|>.</think>\n<think>\n<think></think>Of </think>."
    assert [text[start:end] for start, end in mark_spans(text)] == [
        "<think>", "</think>", "<think>", "<think>", "</think>",
    ]  # fmt: skip
    assert [GPT_OSS[start:end] for start, end in mark_spans(GPT_OSS)] == [
        "<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant",
        "<|channel|>final<|message|>",
    ]  # fmt: skip
    assert mark_spans("Of <think> and </think>.") == []


@given(texts)
def test_an_answer_is_left_alone_the_second_time_unless_it_begins_with_a_mark(text):
    answer = without_thoughts(text)
    if not answer.lstrip().startswith(tuple(mark.strip() for mark in MARKS)):
        assert without_thoughts(answer) == answer


@given(texts, st.integers(1, 6))
def test_the_watch_agrees_with_the_split(text, step):
    watch = ThoughtWatch()
    for end in range(0, len(text) + step, step):
        watch.grow(text[:end], text[max(0, end - step) : end])
        assert watch.is_thinking == split(text[:end], is_writing=True).is_thinking


def test_a_long_text_costs_no_more_than_a_look():
    thought = "<think>" + "1 < 2 and </ so on. " * 5000
    answer = "Hello <b> [x] " * 7000
    for text in (thought, thought + "</think>" + answer, answer, "<think>" * 14000, " " * 100_000):
        started = time.perf_counter()
        for _ in range(10):
            split(text, is_writing=True)
        # A tick has 80 ms; ten of them take about 2 here, and 10 times the text 10 times as long.
        assert time.perf_counter() - started < 0.8

"""Our own JSON out and in: nothing is lost on the way."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.chat.exchange import Imported, read, to_json, with_new_ids
from chat_ui.chat.messages import Conversation, Message, Numbers
from tests.chat.recipes import recipes

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(days=2)

times = st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 26), timezones=st.just(UTC))
wholes = st.integers(0, 2**63 - 1)
seconds = st.none() | st.floats(0, 1e9)
labels = st.none() | st.text(min_size=1, max_size=200)
titles = st.text(min_size=1, max_size=200).filter(str.strip)
numbers = st.builds(
    Numbers,
    model=labels,
    precision=labels,
    prompt_tokens=st.none() | wholes,
    completion_tokens=st.none() | wholes,
    first_token_s=seconds,
    decode_tokens_per_s=seconds,
    dropped_messages=wholes,
    seed=st.none() | wholes,
    reused_tokens=st.none() | wholes,
    drafted_tokens=wholes,
    accepted_tokens=wholes,
    assisted_speedup=seconds,
    model_id=labels,
)


@st.composite
def conversations(draw):
    ids = draw(st.lists(st.text(), max_size=6, unique=True))
    messages = tuple(
        Message(
            id=id_,
            parent_id=draw(st.sampled_from([None, *ids[:place]])),
            role=draw(st.sampled_from(["system", "user", "assistant"])),
            content=draw(st.text()),
            created_at=draw(times),
            state=draw(st.sampled_from(["complete", "length", "stopped", "interrupted", "failed"])),
            error=draw(st.none() | st.text()),
            numbers=draw(numbers),
            recipe=draw(st.none() | recipes()),
        )
        for place, id_ in enumerate(ids)
    )
    return Conversation(
        id=draw(st.text()),
        title=draw(titles),
        system_prompt=draw(st.text()),
        created_at=draw(times),
        updated_at=draw(times),
        head_id=draw(st.sampled_from(ids)) if ids else None,
        messages=messages,
    )


def message(id_, parent_id=None, role="user", content="text", **given):
    return Message(id_, parent_id, role, content, EARLIER, **given)


def conversation(*messages, head_id=None, title="Title", system_prompt=""):
    return Conversation("c", title, system_prompt, EARLIER, EARLIER, head_id, messages)


BRANCHED = conversation(
    message("q1"),
    message("a1", "q1", "assistant"),
    message("a2", "q1", "assistant", state="stopped"),
    message("q2", "a1"),
    head_id="q2",
)


def changed(change, source=BRANCHED):
    """A file of one conversation that was changed by hand."""
    document = json.loads(to_json([source], NOW))
    change(document["conversations"][0])
    return json.dumps(document)


def read_one(text):
    imported = read(text, NOW)
    assert imported.left_out == 0
    [found] = imported.conversations
    return found


@settings(max_examples=40)
@given(st.lists(conversations(), max_size=2))
def test_what_goes_out_comes_in_again(exported):
    assert read(to_json(exported, NOW), NOW) == Imported(tuple(exported))


@given(st.text(st.characters(codec=None, categories=["Cs", "Lu"]), min_size=1))
def test_lone_surrogates_break_neither_the_file_nor_what_is_read(text):
    given_ = conversation(message("q1", content=text), title=text, system_prompt=text)
    exported = to_json([given_], NOW)
    exported.encode()
    # Other programs write them as escapes.
    found = read_one(json.dumps(json.loads(exported)).replace("Title", "\\ud800"))
    found.messages[0].content.encode()
    assert len(found.messages[0].content) == len(text)


def test_surrogates_that_other_programs_escape_are_replaced():
    text = changed(lambda c: c["messages"][0].update(content="a\ud800b"))
    assert "\\ud800" in text
    assert read_one(text).messages[0].content == "a\ufffdb"


def test_the_file_is_readable_and_says_what_it_is():
    text = to_json([conversation(message("q1", content="Grüße, 世界"), head_id="q1")], NOW)
    assert "Grüße, 世界" in text
    assert len(text.splitlines()) > 20
    document = json.loads(text)
    assert (document["format"], document["version"]) == ("chat_ui", 1)
    assert document["exported_at"] == "2026-11-26T12:00:00+00:00"
    [exported] = document["conversations"]
    # A new field has to be read, too, before it is added here.
    assert " ".join(exported) == ("id title system_prompt created_at updated_at head_id messages")
    assert " ".join(exported["messages"][0]) == (
        "id parent_id role content created_at state error numbers recipe"
    )
    assert list(exported["messages"][0]["numbers"]) == [field.name for field in fields(Numbers)]


def test_times_of_any_zone_are_the_same_moments():
    local = EARLIER.astimezone(timezone(timedelta(hours=5, minutes=30)))
    text = to_json([replace(BRANCHED, created_at=local)], NOW)
    assert read_one(text).created_at == EARLIER
    assert datetime.fromisoformat(json.loads(text)["exported_at"]).tzinfo
    theirs = changed(lambda c: c.update(created_at="2026-01-02T03:04:05+05:30"))
    assert read_one(theirs).created_at == datetime(2026, 1, 1, 21, 34, 5, tzinfo=UTC)
    naive = changed(lambda c: c.update(created_at="2026-01-02T03:04:05"))
    assert read_one(naive).created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_numbers_that_are_none_in_json_are_left_out():
    unsure = Numbers(model="m", first_token_s=float("nan"), decode_tokens_per_s=float("inf"))
    given_ = conversation(message("q1", numbers=unsure), head_id="q1")
    text = to_json([given_], NOW)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert read_one(text).messages[0].numbers == Numbers(model="m")


@pytest.mark.parametrize(
    "value", [True, "7", [], {}, -1, 10**400, float("nan"), float("inf"), None]
)
@pytest.mark.parametrize("name", ["prompt_tokens", "first_token_s", "dropped_messages"])
def test_numbers_of_wrong_types_are_left_out(name, value):
    text = changed(lambda c: c["messages"][0].update(numbers={name: value, "seed": 7}))
    assert read_one(text).messages[0].numbers == Numbers(seed=7)


@pytest.mark.parametrize("value", [5, "", "x" * 201, ["m"]])
def test_labels_that_no_page_could_show_are_left_out(value):
    text = changed(lambda c: c["messages"][0].update(numbers={"model": value, "seed": 1.5}))
    assert read_one(text).messages[0].numbers == Numbers()


def test_a_whole_number_of_seconds_is_a_number():
    text = changed(lambda c: c["messages"][0].update(numbers={"first_token_s": 2}))
    assert read_one(text).messages[0].numbers == Numbers(first_token_s=2.0)


def test_an_answer_that_was_being_written_when_it_was_exported_is_a_stopped_one():
    given_ = conversation(message("a", role="assistant", state="writing"), head_id="a")
    assert read_one(to_json([given_], NOW)).messages[0].state == "stopped"


def test_the_clock_is_read_where_no_time_is_given():
    before = datetime.now(UTC)
    exported = datetime.fromisoformat(json.loads(to_json([]))["exported_at"])
    found = read(changed(lambda c: c.update(created_at=None))).conversations[0]
    assert before <= exported <= found.created_at <= datetime.now(UTC)


@settings(max_examples=40)
@given(conversations())
def test_new_ids_change_nothing_else(given_):
    made = count()
    new = with_new_ids(given_, lambda: f"new-{next(made)}")
    assert len({new.id, *(m.id for m in new.messages)}) == 1 + len(given_.messages)
    assert all(m.id.startswith("new-") for m in new.messages)
    old_ids: dict[str | None, str | None] = {
        m.id: old.id for m, old in zip(new.messages, given_.messages, strict=True)
    }
    old_ids[None] = None
    restored = replace(
        new,
        id=given_.id,
        head_id=old_ids[new.head_id],
        messages=tuple(
            replace(m, id=str(old_ids[m.id]), parent_id=old_ids[m.parent_id]) for m in new.messages
        ),
    )
    assert restored == given_

"""Whatever a page sends becomes checked values, or a sentence that repeats none of it."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import ChatUIError, InvalidRequestError, NotFoundError
from chat_ui.ui import events
from chat_ui.ui.events import Event, Sending, checked
from tests.ui.test_generation_panel import DEFAULTS

ID = "0123456789abcdef" * 2
GOOD: dict[str, Any] = {
    "text": "Hello",
    "edited": "",
    "temporary": False,
    "conversation": ID,
    "shown": ID,
    "system_prompt": "",
    "begins_with": "",
    "thinking": True,
} | DEFAULTS
KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def test_what_a_page_sends_is_taken():
    sent = checked(Sending, GOOD)
    assert (sent.text, sent.conversation, sent.thinking) == ("Hello", ID, True)
    assert checked(Sending, GOOD | {"conversation": "t" + ID[1:], "text": None}).text == ""


def test_half_an_emoji_is_no_reason_to_refuse_a_text():
    assert checked(Sending, GOOD | {"text": "a\ud83d"}).text == "a\ufffd"


@pytest.mark.parametrize("name", ["conversation", "shown", "edited"])
@pytest.mark.parametrize(
    "value",
    [5, True, [ID], {"id": ID}, "x", ID + "0", "t" + ID + "0", ID.upper(), ID + "\n", "\0", "../x",
     "' OR 1=1", "\ud800", 10**400, math.nan],
)  # fmt: skip
def test_what_is_no_id_is_refused(name, value):
    with pytest.raises(ChatUIError) as raised:
        checked(Sending, GOOD | {name: value})
    assert isinstance(raised.value, NotFoundError) == (name != "shown")


@pytest.mark.parametrize("name", ["temporary", "thinking", "assisted"])
@pytest.mark.parametrize("value", [1, 0, "true", "", 1.0, [True]])
def test_what_is_neither_on_nor_off_is_refused(name, value):
    with pytest.raises(InvalidRequestError):
        checked(Sending, GOOD | {name: value})


@pytest.mark.parametrize("name", ["text", "system_prompt", "begins_with"])
@pytest.mark.parametrize("value", [5, True, ["a"], {"a": 1}, "x" * 1_000_001])
def test_what_is_no_text_is_refused(name, value):
    with pytest.raises(InvalidRequestError):
        checked(Sending, GOOD | {name: value})


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_not_known_are_refused_and_not_repeated(kind):
    with pytest.raises(ChatUIError) as raised:
        checked(kind, {"<script>": 1})
    assert "script" not in str(raised.value)


def test_a_value_that_is_missing_is_refused():
    for name in GOOD:
        with pytest.raises(ChatUIError):
            checked(Sending, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_has_a_sentence_of_its_own(kind):
    for name in kind.model_fields:
        error = events._refusal((name,), kind)
        assert error.sentence.endswith(".")
        assert error.sentence != events._UNKNOWN[0], name


SECRET = "hf_secret-canary"
_SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from([10**400, -(10**400), 1e308, math.inf, math.nan, "\0", "\ud800", SECRET, ID])
)
_JSON = st.recursive(
    _SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_anything_is_taken_or_refused_with_a_sentence(kind, data):
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys([*kind.model_fields, SECRET], _JSON))
    one_wrong = st.sampled_from(list(kind.model_fields)).flatmap(
        lambda name: _JSON.map(lambda value: {**_good(kind), name: value})
    )
    given_ = data.draw(_JSON | fields | one_wrong)
    try:
        taken = checked(kind, given_)
    except ChatUIError as error:
        said = str(error)
    else:
        assert isinstance(taken, kind)
        return
    assert SECRET not in said
    assert "pydantic" not in said


def _good(kind: type[Event]) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name in kind.model_fields}

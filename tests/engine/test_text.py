"""Decoding a stream of tokens: never half a character, never a stop string, nothing lost."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from chat_ui.engine.text import TextStream
from tests.engine import random_models

pytestmark = pytest.mark.torch

BYTE_LEVEL = random_models.tokenizer()

TEXTS = st.text(
    st.one_of(
        st.sampled_from("ab \n.<|>"),
        st.sampled_from("你好世界👋🏽🇩🇪e\u0301ü\u200dمرحبשלםना"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
STOPS = st.lists(
    st.one_of(st.text("ab \n.", min_size=1, max_size=5), TEXTS.filter(bool)), max_size=4
)

# How busy the machine is says nothing of the code.
always = settings(deadline=None, derandomize=True)


def stream(tokenizer: Any, ids: Sequence[int], stop: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The whole text, and its pieces."""
    text = TextStream(tokenizer, stop)
    pieces = [text.push(token) for token in ids]
    pieces.append(text.finish())
    return "".join(pieces), pieces


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the stop string that is complete first."""
    ends = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]
    return text[: min(ends)[1]] if ends else text


def check(ids: list[int], stop: Sequence[str]) -> None:
    """All but bytes at the end that make no character is there, and nothing else."""
    whole = cut(BYTE_LEVEL.decode(ids, skip_special_tokens=True), stop)
    shown = stream(BYTE_LEVEL, ids, stop)[0]
    assert shown.rstrip("\ufffd") == whole.rstrip("\ufffd")
    assert len(shown) <= len(whole)


def encode(text: str) -> list[int]:
    return list(BYTE_LEVEL.encode(text, add_special_tokens=False))


SINGLE = [i for i in range(random_models.VOCABULARY) if len(BYTE_LEVEL.decode([i])) <= 1]
# Continuation bytes: none begins a character.
INVALID = [i for i in SINGLE if BYTE_LEVEL.decode([i, i, i]) == "\ufffd" * 3]


@always
@given(TEXTS, STOPS)
@example("xabc", ["abc", "xab"])
@example("aab", ["ab"])
@example("👋🏽", ["👋"])
def test_joined_pieces_are_the_text_before_the_first_stop_string(
    text: str, stop: list[str]
) -> None:
    ids = [token for token in encode(text) if token >= len(random_models.SPECIALS)]
    whole = BYTE_LEVEL.decode(ids, skip_special_tokens=True).rstrip("\ufffd")
    assert stream(BYTE_LEVEL, ids, stop)[0] == cut(whole, stop)


@always
@given(st.lists(st.integers(0, random_models.VOCABULARY - 1), max_size=60), STOPS)
def test_any_tokens_at_all_decode_as_they_would_together(ids: list[int], stop: list[str]) -> None:
    check(ids, stop)


@always
@given(TEXTS, TEXTS.filter(bool), st.data())
def test_how_the_text_comes_in_pieces_makes_no_difference(
    text: str, stop: str, data: st.DataObject
) -> None:
    """A tokenizer whose tokens are chosen by chance: each is a piece of the text."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    shown = stream(PieceTokenizer(pieces), range(len(pieces)), [stop])[0]
    assert shown == cut(text.rstrip("\ufffd"), [stop])


@always
@given(TEXTS)
def test_no_piece_ends_inside_a_character(text: str) -> None:
    _, pieces = stream(BYTE_LEVEL, encode(text))
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in text


def test_text_comes_as_soon_as_it_is_certain() -> None:
    text = TextStream(BYTE_LEVEL, ["\nUser:"])
    shown = [text.push(token) for word in ("Hi", "\n", "Us", "age") for token in encode(word)]
    assert "".join(shown) == "Hi\nUsage"
    assert shown[0] != ""
    assert text.finish() == ""


def test_a_possible_stop_string_is_held_back_and_given_out_at_the_end() -> None:
    text = TextStream(BYTE_LEVEL, ["END"])
    assert "".join(text.push(token) for token in encode("The EN")) == "The "
    assert text.finish() == "EN"
    assert text.finish() == ""


def test_nothing_comes_after_a_stop_string() -> None:
    text = TextStream(BYTE_LEVEL, ["END"])
    assert "".join(text.push(token) for token in encode("The END of it")) == "The "
    assert text.stopped
    assert text.push(encode("x")[0]) == ""
    assert text.finish() == ""


def test_an_unfinished_character_at_the_end_is_dropped() -> None:
    ids = [256 + 0, *encode("ok "), *encode("🦊")[:-1]]
    shown, _ = stream(BYTE_LEVEL, ids[1:])
    assert shown == "ok "


@always
@given(st.text("ab 你👋é", max_size=30))
def test_sentencepiece_with_byte_fallback(text: str) -> None:
    """Llama 2's kind: the first space is dropped, unknown characters come byte by byte."""
    tokenizer = SentencePieceLike()
    ids = tokenizer.encode(text)
    assert stream(tokenizer, ids)[0] == tokenizer.decode(ids)


class PieceTokenizer:
    """Token n is the n-th piece of a text."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.pieces[token] for token in ids)


class SentencePieceLike:
    """A vocabulary of letters with SentencePiece's space, and one token for each byte."""

    def __init__(self) -> None:
        vocabulary = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", "a", "b", "▁a", "▁b"]
        self.ids = {token: index for index, token in enumerate(vocabulary)}
        self.rust = Tokenizer(models.BPE(self.ids, [("▁", "a"), ("▁", "b")], byte_fallback=True))
        self.rust.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )

    def encode(self, text: str) -> list[int]:
        return list(self.rust.encode("▁" + text.replace(" ", "▁")).ids)

    def decode(self, ids: list[int], **_: Any) -> str:
        return str(self.rust.decode(ids, skip_special_tokens=True))


@always
@given(st.lists(st.sampled_from(INVALID + encode("é👋 ")), min_size=17, max_size=120), STOPS)
def test_many_bytes_that_make_no_character_decode_as_they_would_together(
    ids: list[int], stop: list[str]
) -> None:
    check(ids, stop)


@always
@given(
    st.text(st.sampled_from("ab é👋"), min_size=1), st.text(st.sampled_from("ab é👋"), min_size=1)
)
def test_a_text_goes_on_from_the_tokens_before_it(given_: str, more: str) -> None:
    for tokenizer in (BYTE_LEVEL, SentencePieceLike()):
        before = tokenizer.encode(given_)
        # As a model goes on: SentencePiece's space is what it writes between words.
        whole = tokenizer.encode(given_ + more)
        if whole[: len(before)] != before:  # the texts share a token
            continue
        stream = TextStream(tokenizer, (), before)
        assert "".join(map(stream.push, whole[len(before) :])) + stream.finish() == more


def test_without_them_sentencepiece_would_lose_the_space_between_words() -> None:
    tokenizer = SentencePieceLike()
    [before, word] = tokenizer.encode("a b")
    assert TextStream(tokenizer).push(word) == "b"
    assert TextStream(tokenizer, (), [before]).push(word) == " b"


def test_endless_bytes_that_make_no_character_are_not_decoded_again_and_again() -> None:
    decoded: list[int] = []

    class Counting:
        def decode(self, ids: list[int], **options: Any) -> str:
            decoded.append(len(ids))
            return str(BYTE_LEVEL.decode(ids, **options))

    stream = TextStream(Counting())
    text = "".join(stream.push(token_id) for token_id in INVALID[:1] * 4000)
    assert len(text) > 3900
    assert max(decoded) < 40

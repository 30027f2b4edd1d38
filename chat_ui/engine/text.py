"""Turns a stream of token ids into text that may be shown at once, and finds stop strings in it.

It does not know when an answer ends otherwise (end-of-turn tokens, limits): that is `answer.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# What decoding gives for bytes that are not (yet) a character.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A character has 4 bytes at most, and a token 1 at least. More tokens than this that end in no
# character are let go, but for the last few.
_MAX_PENDING = 16
_KEPT_PENDING = range(4, 9)


class TextStream:
    """Decodes one answer, token by token.

    The returned pieces, joined, are the decoded answer without special tokens, up to the stop
    string that is complete first (of two that end together, the longer), and without an incomplete
    character at the end. A U+FFFD that a model really wrote as its last character is lost with it.

    Works on any tokenizer that decodes: it decodes the last finished piece with the tokens after
    it, because what a token means may depend on the one before (a space that a first token loses,
    the bytes of a character) but on nothing further back. `tokenizers.decoders.DecodeStream` does
    the same, only for fast tokenizers, and can't give out what is left at the end; a call takes
    6 µs here.

    Args:
        tokenizer: with `decode(ids, skip_special_tokens=..., clean_up_tokenization_spaces=...)`.
        stop: stop strings, none empty.
        before: tokens of the text that this one goes on with, which ends in a whole character.
        marks: special tokens that are text nonetheless, by id.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Sequence[str] = (),
        before: Sequence[int] = (),
        marks: Mapping[int, str] | None = None,
    ) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._marks = marks or {}
        self._context = self._last_piece(before)  # the last finished piece
        self._context_chars = len(self._decode(self._context))
        self._piece: list[int] = []  # tokens after it
        self._piece_chars = 0  # of the piece, given out already
        self._held = ""  # a possible beginning of a stop string

    def push(self, token_id: int) -> str:
        """Take a token; the text that is now certain, if any. Nothing after a stop string."""
        if self.stopped:
            return ""
        if token_id in self._marks:
            # What follows begins anew, as it does after any special token.
            self._context, self._context_chars = [], 0
            self._piece, self._piece_chars = [], 0
            return self._before_stop(self._marks[token_id])
        self._piece.append(token_id)
        full = self._decode(self._context + self._piece)
        text = full[self._context_chars :]
        # More bytes may still turn these into a character.
        certain = text.rstrip(_REPLACEMENT)
        new = certain[self._piece_chars :]
        if text and certain == text:
            self._context, self._piece = self._piece, []
            self._context_chars = len(self._decode(self._context))
            self._piece_chars = 0
        else:
            self._piece_chars = max(self._piece_chars, len(certain))
            if len(self._piece) > _MAX_PENDING:
                new += self._let_go(full)
        return self._before_stop(new)

    def finish(self) -> str:
        """What was held back and can be shown: no stop string follows any more."""
        held, self._held = self._held, ""
        return held

    def _let_go(self, full: str) -> str:
        """Give out the oldest of many tokens that make no character; keep what may become one.

        Otherwise an endless run of such tokens would be decoded whole at every token.
        """
        given = self._context_chars + self._piece_chars
        for kept in _KEPT_PENDING:
            tail = self._decode(self._piece[-kept:])
            # Where the cut falls into a character, the tail reads otherwise without its beginning.
            if full.endswith(tail):
                start = len(full) - len(tail)
                self._context, self._context_chars = [], 0
                self._piece = self._piece[-kept:]
                self._piece_chars = max(0, given - start)
                return full[given:start]
        return ""

    def _last_piece(self, ids: Sequence[int]) -> list[int]:
        """The fewest last tokens that read as a text by themselves; none where none do."""
        for count in range(1, min(len(ids), _MAX_PENDING) + 1):
            piece = list(ids[-count:])
            text = self._decode(piece)
            if text and _REPLACEMENT not in text:
                return piece
        return []

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    def _before_stop(self, new: str) -> str:
        text = self._held + new
        matches = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if matches:
            # The one complete first, so that the cut doesn't depend on how the text came in pieces.
            _, start = min(matches)
            self.stopped, self._held = True, ""
            return text[:start]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, which is not in `text`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0

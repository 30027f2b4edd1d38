"""Token ids of an answer's beginning, for the model to go on with.

They follow the template's generation prompt, as the model's own tokens would. transformers'
`continue_final_message` renders the answer with the template and looks for where it ends: it fails
where a template trims an answer (Llama 3's, Gemma's) or drops its thought (Qwen3's), and it ends
inside no text that ends in white space. This way depends on nothing that a template does to an
answer, and a cache that holds the question serves its continuation.

Where a generation prompt opens a thought, as DeepSeek-R1's does, the text goes on inside it, as the
model's own does: it ends the thought itself, with `</think>`, or is part of it.

The marks around thoughts become the tokens that they are, special ones too; in a thought and in the
answer they are what somebody writes about, and stay text like all that looks like a control token.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from chat_ui.chat.reasoning import FORMATS, mark_spans
from chat_ui.engine.thinking import MARK_TOKEN, thought_tokens

# transformers puts these around what looks like a control token, and drops those of a text.
_MARKERS: Final = re.compile("([\U000f0000\U000f0001])")
_AS_IT_IS: Final = "{{ messages[0]['content'] }}"
# As a generation prompt has them, which may end a line after them, or not.
_OPENINGS: Final = {form.opening.rstrip(): form.opening for form in FORMATS}
# Tokens from the end of a generation prompt in which it may open a thought.
_TAIL: Final = 16


class BegunAnswers:
    """Encodes the beginnings of answers for one tokenizer.

    Args:
        tokenizer: its `chat_control_tokens` are set.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._thought_ids = thought_tokens(tokenizer)

    def append(self, prompt_ids: Sequence[int], text: str) -> list[int]:
        """The ids of a prompt and of the text after it.

        Control tokens in the text stay text, but for those around a thought.

        Args:
            prompt_ids: up to where the answer begins.
            text: how it begins; not empty.

        Returns:
            Ids that decode, without special tokens but for the marks of thoughts, to something that
            ends with the text.
        """
        ids, opening = list(prompt_ids), ""
        mark, count = self._opening(ids)
        if mark and text.startswith(mark):
            ids = ids[:-count]  # the text opens it itself
        else:
            opening = _OPENINGS.get(mark, "")
        at = 0
        for start, end in self._tokens_of_marks(opening, text):
            self._append_text(ids, text[at:start], is_first=at == 0)
            ids.append(self._thought_ids[text[start:end]])
            at = end
        self._append_text(ids, text[at:], is_first=at == 0)
        return ids

    def _opening(self, prompt_ids: Sequence[int]) -> tuple[str, int]:
        """The mark with which a prompt opens a thought, and of how many tokens; "" for none."""
        for count in range(1, min(_TAIL, len(prompt_ids)) + 1):
            tail = prompt_ids[-count:]
            mark = str(self._tokenizer.decode(tail, clean_up_tokenization_spaces=False)).rstrip()
            if mark in _OPENINGS:
                first = MARK_TOKEN.findall(mark)[0]
                # Of other tokens, it is text that somebody sent.
                is_mark = self._thought_ids.get(first, tail[0]) == tail[0]
                return (mark, count) if is_mark else ("", 0)
        return "", 0

    def _tokens_of_marks(self, opening: str, text: str) -> Iterator[tuple[int, int]]:
        """Where in a text that follows an opening mark the tokens of its marks are."""
        whole = opening + text
        for start, end in mark_spans(whole):
            for token in MARK_TOKEN.finditer(whole, start, end):
                if token.start() >= len(opening) and token[0] in self._thought_ids:
                    yield token.start() - len(opening), token.end() - len(opening)

    def _append_text(self, ids: list[int], text: str, *, is_first: bool) -> None:
        for place, piece in enumerate(_MARKERS.split(text)):
            if _MARKERS.fullmatch(piece):
                ids += self._after_newline(piece, self._plain)
            elif piece:
                # SentencePiece begins a text with a space, as the model does after "[/INST]", and
                # not after a line's end.
                encode = self._sanitized
                is_word = is_first and place == 0 and not self._ends_in_space(ids)
                ids += encode(piece) if is_word else self._after_newline(piece, encode)

    def _after_newline(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        newline = self._plain("\n")
        ids = encode("\n" + text)
        return ids[len(newline) :] if ids[: len(newline)] == newline else encode(text)

    def _sanitized(self, text: str) -> list[int]:
        ids = self._tokenizer.apply_chat_template(
            [{"role": "assistant", "content": text}],
            chat_template=_AS_IT_IS,
            return_dict=False,
            sanitize_control_tokens=True,
        )
        return [int(token) for token in ids]

    def _plain(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text, add_special_tokens=False)]

    def _ends_in_space(self, ids: Sequence[int]) -> bool:
        last = str(self._tokenizer.decode(ids[-1:]))
        return not last or last[-1].isspace()

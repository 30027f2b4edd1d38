"""Token ids of an answer's beginning, for the model to go on with.

They follow the template's generation prompt, as the model's own tokens would. transformers'
`continue_final_message` renders the answer with the template and looks for where it ends: it fails
where a template trims an answer (Llama 3's, Gemma's) or drops its thought (Qwen3's), and it ends
inside no text that ends in white space. This way depends on nothing that a template does to an
answer, and a cache that holds the question serves its continuation.

Where a generation prompt opens a thought, as DeepSeek-R1's does, the text goes on inside it, as the
model's own does: it ends the thought itself, with `</think>`, or is part of it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

_OPENED: Final = "<think>"
_CLOSED: Final = "</think>"
# transformers puts these around what looks like a control token, and drops those of a text.
_MARKERS: Final = ("\U000f0000", "\U000f0001")
_AS_IT_IS: Final = "{{ messages[0]['content'] }}"
# Tokens from the end of a generation prompt in which it may open a thought.
_TAIL: Final = 4


class BegunAnswers:
    """Encodes the beginnings of answers for one tokenizer.

    Args:
        tokenizer: its `chat_control_tokens` are set.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # Not where they are special tokens: those are no part of what an answer shows.
        self._thought_ids: dict[str, int] = {
            token.content: int(token_id)
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.content in (_OPENED, _CLOSED) and not token.special
        }
        apart = "|".join(re.escape(text) for text in (*self._thought_ids, *_MARKERS))
        self._apart = re.compile(f"({apart})")

    def append(self, prompt_ids: Sequence[int], text: str) -> list[int]:
        """The ids of a prompt and of the text after it.

        Control tokens in the text stay text, but for those around a thought.

        Args:
            prompt_ids: up to where the answer begins.
            text: how it begins; not empty.

        Returns:
            Ids that decode, without special tokens, to something that ends with the text.
        """
        ids = self._without_opening(prompt_ids, text)
        for place, piece in enumerate(self._apart.split(text)):
            if piece in self._thought_ids:
                ids.append(self._thought_ids[piece])
            elif piece in _MARKERS:
                ids += self._after_newline(piece, self._plain)
            elif piece:
                # SentencePiece begins a text with a space, as the model does after "[/INST]", and
                # not after a line's end.
                encode = self._sanitized
                is_word = place == 0 and not self._ends_in_space(ids)
                ids += encode(piece) if is_word else self._after_newline(piece, encode)
        return ids

    def _without_opening(self, prompt_ids: Sequence[int], text: str) -> list[int]:
        """The prompt, without its opening of a thought where the text opens it itself."""
        ids, opened = list(prompt_ids), self._thought_ids.get(_OPENED)
        if opened in ids[-_TAIL:] and text.startswith(_OPENED):
            return ids[: len(ids) - 1 - ids[::-1].index(opened)]
        return ids

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

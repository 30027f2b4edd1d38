"""What a chat template does with thoughts, probed once when a model is loaded.

Templates are programs: what they do is seen by rendering. Nothing here calls torch; how a text is
split into thoughts and answer is `chat/reasoning.py`'s business.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from chat_ui.chat.reasoning import FORMATS

_USER_PROBE: Final = "Quixotic umbrella"

# What templates call the switch. Source: those of Qwen3, GLM, SmolLM3, Gemma 4; DeepSeek-V3.1,
# Granite.
_SWITCHES: Final = ("enable_thinking", "thinking")
MARK_TOKEN: Final = re.compile(r"<[^<>\n]+>|\[[^\[\]\n]+\]")
"""What of a mark is one token, where a tokenizer has it."""


@dataclass(frozen=True, slots=True)
class ThinkingFacts:
    """What is true of a model's template; by default, of one that knows no thoughts.

    Attributes:
        opening: the end of the prompt, where it opens a thought: "<think>" and a line's end. The
            answer's text then holds only the mark that closes it. "" where the model decides.
        opening_when_on: the same, where thinking is switched on.
        has_switch: thinking can be switched off.
    """

    opening: str = ""
    opening_when_on: str = ""
    has_switch: bool = False

    def opening_with(self, thinking: bool | None) -> str:
        """The end of the prompt that opens a thought, or "".

        Args:
            thinking: as the switch is set; None leaves it to the template.
        """
        if thinking is None or not self.has_switch:
            return self.opening
        return self.opening_when_on if thinking else ""


def probe(tokenizer: Any) -> ThinkingFacts:
    """Find out what a tokenizer's chat template does; a template that refuses it does nothing."""
    default = _prompt(tokenizer)
    if default is None:
        return ThinkingFacts()
    on, off = (_prompt(tokenizer, **switched(value)) for value in (True, False))
    has_switch = on is not None and off is not None and on != off
    return ThinkingFacts(
        opening=_opening(default),
        opening_when_on=_opening(on) if has_switch and on else "",
        has_switch=has_switch,
    )


def switched(thinking: bool | None) -> dict[str, bool]:
    """What a template is given so that thinking is on or off; nothing for None."""
    return {} if thinking is None else dict.fromkeys(_SWITCHES, thinking)


def thought_tokens(tokenizer: Any) -> dict[str, int]:
    """The added tokens that marks of thoughts consist of, special ones or not, by their text."""
    added = {
        token.content: int(token_id) for token_id, token in tokenizer.added_tokens_decoder.items()
    }
    found: dict[str, int] = {}
    for form in FORMATS:
        tokens = MARK_TOKEN.findall("".join((form.opening, form.closing, *form.joints)))
        # `<|end|>` alone is how Phi ends its turn.
        if tokens[0] in added:
            found |= {token: added[token] for token in tokens if token in added}
    return found


def mark_tokens(tokenizer: Any) -> dict[int, str]:
    """Special tokens that mark thoughts, by id: left out of the text, nobody could find a thought.

    Most models' marks are ordinary tokens; those of Magistral, gpt-oss and Gemma 4 are special.
    """
    added = tokenizer.added_tokens_decoder
    return {
        token_id: mark
        for mark, token_id in thought_tokens(tokenizer).items()
        if added[token_id].special
    }


def _prompt(tokenizer: Any, **variables: Any) -> str | None:
    return _render(tokenizer, [{"role": "user", "content": _USER_PROBE}], **variables)


def _render(tokenizer: Any, messages: list[dict[str, str]], **variables: Any) -> str | None:
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **variables
            )
        )
    except Exception:  # a template is a program of the model's author: it may raise anything
        return None


def _opening(prompt: str) -> str:
    """The mark at the end of a prompt that opens a thought, with the white space after it."""
    _, _, end = prompt.rpartition(_USER_PROBE)
    for form in FORMATS:
        mark = form.opening.strip()
        if end.rstrip().endswith(mark):
            return end[end.rindex(mark) :]
    return ""

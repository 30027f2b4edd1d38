"""The app with a scripted engine instead of a model: `python -m tests.e2e.serve FLAGS`.

What this machine can do is scripted, too: nothing is measured and nothing calls torch.

The newest message says what happens: "count to 30 at 20" writes thirty words at 20 tokens/s, "fail"
fails after two words, "explode" is a defect whose exception quotes the whole prompt, "think" thinks
before it answers, "think long" for a minute, anything else is repeated.

FAKE_TUNNEL in the environment is the link that Gradio's relay would have given; "" is none.
"""

import os
import re
import sys
from collections.abc import Sequence

from gradio import networking

from app import main
from chat_ui.chat.messages import PromptMessage
from chat_ui.engine.fake import FakeEngine, FakeLoader, Script
from chat_ui.engine.thinking import ThinkingFacts
from chat_ui.models.progress import Progress, ignore
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec
from tests.service.instruments import FakeInstruments

_COUNT = re.compile(r"count to (\d+)(?: at (\d+))?")


def answer(prompt: str) -> Script:
    """The script for a message."""
    if prompt.startswith("slowly: "):
        return Script(text=prompt.removeprefix("slowly: "), tokens_per_s=100)
    if count := _COUNT.search(prompt):
        words = " ".join(f"w{number}" for number in range(1, int(count[1]) + 1))
        return Script(text=words, tokens_per_s=float(count[2] or 20))
    if "think" in prompt:
        last = 1200 if "think long" in prompt else 8
        words = " ".join(f"w{number}" for number in range(1, last + 1))
        thought = f"<think>\nLet me **see**. {words}\n</think>\n\n"
        return Script(text=f"{thought}You said: {prompt}", tokens_per_s=20)
    if "fail" in prompt:
        return Script(text="One two three", fails_at=2)
    return Script(text=f"You said: {prompt}")


class LoudLoader(FakeLoader):
    """Says what it loads, for a test that counts."""

    def __call__(
        self,
        spec: ModelSpec,
        precision: Precision,
        *,
        draft: ModelSpec | None = None,
        progress: Progress = ignore,
        anyway: bool = False,
    ) -> FakeEngine:
        """See `FakeLoader`."""
        sys.stdout.write(f"loads {precision}\n")
        engine = super().__call__(spec, precision, draft=draft, progress=progress)
        encode = engine.encode

        def encode_or_explode(
            messages: Sequence[PromptMessage], thinking: bool | None = None
        ) -> list[int]:
            if messages and "explode" in messages[-1].content:
                raise RuntimeError(f"can't encode {messages}")
            return encode(messages, thinking)

        engine.encode = encode_or_explode  # type: ignore[method-assign]
        return engine


def tunnel(*_: object, **__: object) -> str:
    if not os.environ["FAKE_TUNNEL"]:
        raise RuntimeError
    return os.environ["FAKE_TUNNEL"]


if __name__ == "__main__":
    if "FAKE_TUNNEL" in os.environ:
        networking.setup_tunnel = tunnel
    loader = LoudLoader(answer, window_tokens=20_000)
    loader.thinking = ThinkingFacts(has_switch=True)
    sys.exit(main(load=loader, instruments=FakeInstruments()))

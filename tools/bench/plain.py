"""Two contenders: `transformers.pipeline` called plainly, and the thread of every tutorial.

    python -m tools.bench.plain    # serves commands, see child.py

Both load the model on the main thread in the checkpoint's dtype. `pipeline` is called there, too,
and nothing else runs: the fastest plain form. `tutorial` runs `model.generate` on a new thread for
each answer, with a TextIteratorStreamer that the main thread reads.
"""

import time
from threading import Thread
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer, pipeline
from transformers.generation.streamers import BaseStreamer

from tools.bench import child


class _Clock(BaseStreamer):
    """Notes when tokens come, and does nothing else."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []

    def put(self, value: Any) -> None:
        """The prompt first, then each token."""
        self.arrivals.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to do."""


class _TimedTextStreamer(TextIteratorStreamer):
    """The usual streamer, which also notes when tokens come."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.arrivals: list[float] = []

    def put(self, value: Any) -> None:
        """The prompt first, then each token."""
        self.arrivals.append(time.perf_counter())
        super().put(value)


class Plain:
    """Both contenders; a process uses one of them."""

    def __init__(self) -> None:
        self._pipeline: Any = None
        self._model: Any = None
        self._tokenizer: Any = None

    def load(self, folder: str, way: str) -> child.Json:
        """Load a checkpoint for "pipeline" or "tutorial"."""
        if way == "pipeline":
            self._pipeline = pipeline("text-generation", model=folder, dtype="auto")
            model = self._pipeline.model
        else:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device)
            self._model = model
        return {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)}

    def answer(self, text: str, tokens: int) -> child.Json:
        """Answer one message with this many tokens; see `child.rate`."""
        started = time.perf_counter()
        arrivals = self._piped(text, tokens) if self._pipeline else self._threaded(text, tokens)
        return child.rate(started, arrivals[1:], tokens)

    def answers(self, texts: list[str], tokens: int) -> child.Json:
        """Answer messages one after the other; the seconds for all, and the tokens of all."""
        started = time.perf_counter()
        for text in texts:
            self.answer(text, tokens)
        return {"seconds": time.perf_counter() - started, "tokens": tokens * len(texts)}

    def _piped(self, text: str, tokens: int) -> list[float]:
        clock = _Clock()
        self._pipeline(
            _messages(text),
            max_new_tokens=tokens,
            do_sample=False,
            return_full_text=False,
            streamer=clock,
        )
        return clock.arrivals

    def _threaded(self, text: str, tokens: int) -> list[float]:
        inputs = self._tokenizer.apply_chat_template(
            _messages(text), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        streamer = _TimedTextStreamer(self._tokenizer)
        options = {**inputs, "streamer": streamer, "max_new_tokens": tokens, "do_sample": False}
        thread = Thread(target=self._model.generate, kwargs=options)
        thread.start()
        "".join(streamer)
        thread.join()
        return streamer.arrivals


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


if __name__ == "__main__":
    plain = Plain()
    child.run(
        {
            "load": plain.load,
            "answer": plain.answer,
            "answers": plain.answers,
        }
    )

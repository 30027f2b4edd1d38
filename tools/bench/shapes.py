"""The shapes of the models that are measured, and prompts of an exact length for them.

Writing the checkpoints is `setup.py`'s part, for it needs torch.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# Room for a history of 4,000 tokens, no more: the app makes its cache for four whole windows.
WINDOW_TOKENS: Final = 6144
FACTS_FILE: Final = "bench.json"

# Fields of the configs of SmolLM2-135M, Qwen3-0.6B, Llama-3.2-1B and Llama-3.1-8B. The last two are
# for machines with a GPU. `tiny` is for the tests.
SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    },
    "135M": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "0.6B": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "1B": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "8B": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
}
DEFAULT_SHAPES: Final = ("135M", "0.6B")


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What is true of the tokenizer of a written checkpoint.

    Attributes:
        words: each of them is one token with the space before it.
        turn_tokens: what the template adds to a conversation of one message.
    """

    words: Sequence[str]
    turn_tokens: int

    @classmethod
    def read(cls, folder: Path) -> "TextFacts":
        """The facts that `setup.py` wrote beside a checkpoint."""
        found = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(found["words"], found["turn_tokens"])


class Prompts:
    """Messages that have nothing in common, so that no cache helps.

    Args:
        facts: of the model that they are for.
    """

    def __init__(self, facts: TextFacts) -> None:
        self._facts = facts
        self._random = random.Random(0)

    def message(self, words: int) -> str:
        """A message of this many words, each of which is one token."""
        return "".join(f" {self._random.choice(self._facts.words)}" for _ in range(words))

    def prompt(self, tokens: int) -> str:
        """A message that makes a prompt of this many tokens, the template's own included."""
        return self.message(max(1, tokens - self._facts.turn_tokens))

"""Builds Pocket Guide, the tiny chat model that comes with the app.

Everything starts from the TOML files in `data/`: a generator turns them into conversations, a
tokenizer and a small Llama-architecture model are trained on those from scratch, and the result is
exported in the transformers format. Run `python -m tools.pocket_guide --help`.
"""

from pathlib import Path

DATA_DIR = Path(__file__).resolve().parent / "data"
ASSET_DIR = Path(__file__).resolve().parents[2] / "assets" / "pocket-guide"

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"

# The model says its own size, and the size does not depend on the training.
PARAMETERS = "4.7 million"
VOCAB_SIZE = 4096
CONTEXT_TOKENS = 2048

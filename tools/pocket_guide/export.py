"""Writes the model in the transformers format."""

import copy
import os
import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM

from tools.pocket_guide import END_OF_TEXT, IM_END
from tools.pocket_guide.tokenizer import wrap


def parameters_in_words(model: LlamaForCausalLM) -> str:
    """Says the number of parameters the way the model says it.

    Args:
        model: Any model of a few million parameters.

    Returns:
        For example "4.7 million".
    """
    return f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.1f} million"


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Writes model and tokenizer to a folder, replacing the folder in one move.

    Args:
        model: The trained model; it is copied and stays as it is.
        tokenizer: Its tokenizer.
        out: The folder to make. What was there is deleted once the new files are complete.
    """
    model = copy.deepcopy(model).to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.4,
        top_p=0.9,
        max_new_tokens=512,
        eos_token_id=tokenizer.token_to_id(IM_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, because only a move inside one file system is atomic.
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    fresh, old = work / "new", work / "old"
    try:
        model.save_pretrained(fresh)
        wrap(tokenizer).save_pretrained(fresh)
        for path in (fresh, *fresh.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if out.exists():
            os.replace(out, old)
        os.replace(fresh, out)
    finally:
        shutil.rmtree(work)

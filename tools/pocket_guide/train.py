"""Trains the model from scratch on generated conversations."""

import math
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel
from transformers import LlamaConfig, LlamaForCausalLM

from tools.pocket_guide import CONTEXT_TOKENS, END_OF_TEXT, IM_END, VOCAB_SIZE
from tools.pocket_guide.batches import Batch, batches, question_rows, repeated_rows, whole_rows
from tools.pocket_guide.conversations import conversations
from tools.pocket_guide.copying import add_copying_heads
from tools.pocket_guide.corpus import Corpus

_PEAK_LEARNING_RATE = 2e-3
_PEAK_LEARNING_RATE_OF_MATRICES = 3e-3
_WARMUP_STEPS = 100
_WEIGHT_DECAY = 0.1
_CLIP_NORM = 1.0

# What is exported is a running average of the weights, which is steadier than the last ones, above
# all while the learning rate is high.
_AVERAGE_RATE = 0.003
_LOG_EVERY = 100

# A step is made of parts that are computed side by side. Two single threads share busy cores better
# than one computation on two threads, which would wait for each other after every product.
_PARTS = 2


@dataclass(frozen=True)
class _Stage:
    """A part of the training.

    Attributes:
        until: Share of the whole training at which it ends.
        shares: How often a batch has sequences that repeat, single questions, facts, and whole
            conversations.
        tokens: The most tokens of a part of a step.
    """

    until: float
    shares: tuple[float, float, float, float]
    tokens: int


# First the model learns to look at the question, which is easiest when there is only one, and to
# copy what it was told. Sequences that repeat go on to the end, or tokens that stand in no answer
# would no longer be copied. In the end the gradients must be less noisy, so the batches are larger.
_STAGES = (
    _Stage(0.3, (0.1, 0.35, 0.3, 0.25), 768),
    _Stage(0.6, (0.05, 0.45, 0.15, 0.35), 768),
    _Stage(1.0, (0.05, 0.45, 0.15, 0.35), 1536),
)


@dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        steps: Number of optimizer steps; the same number gives the same model.
        minutes: Wall-clock limit. It ends training early, with the learning rate brought down in
            time, so a run that reaches it cannot be repeated exactly. Zero means no limit.
    """

    steps: int
    minutes: float = 0.0


def new_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Makes an untrained model.

    Args:
        tokenizer: Gives the numbers of the special tokens.

    Returns:
        The model in float32. Every dimension is a multiple of 64, as quantizers like it.
    """
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        # Copying a name takes wide heads, and parts of them that turn slowly with the distance.
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(IM_END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
    )
    model = LlamaForCausalLM(config)
    add_copying_heads(model)
    # In training on a CPU this is the quickest for rows as short as ours.
    model.set_attn_implementation("eager")
    return model


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, learn: torch.Tensor) -> torch.Tensor:
    # Weights and their updates stay in float32; only the products are computed in bfloat16, which
    # halves the time on processors that have instructions for it.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        # Scores are computed only where they count: the vocabulary is a fifth of the work.
        chosen = learn[:, 1:].flatten().nonzero().squeeze(1)
        scores = model.lm_head(hidden.flatten(0, 1).index_select(0, chosen))
    return functional.cross_entropy(scores.float(), ids[:, 1:].flatten()[chosen])


def _optimizers(model: LlamaForCausalLM) -> list[Optimizer]:
    """Makes the optimizers, each of other weights, so that they can run side by side.

    Muon (Jordan et al. 2024) takes the matrices inside the layers: it needs less than half the
    steps of AdamW, which takes the others.
    """
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.dim() > 1 and "embed" not in name]
    others: list[dict[str, Any]] = [
        {"params": [weight for name, weight in named if "embed" in name]},
        {"params": [weight for _, weight in named if weight.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [
        Muon(half, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
        for half in (matrices[::2], matrices[1::2])
    ]
    for group in (group for each in optimizers for group in each.param_groups):
        group["peak"] = _PEAK_LEARNING_RATE_OF_MATRICES
    optimizers.append(AdamW(others, betas=(0.9, 0.98), weight_decay=_WEIGHT_DECAY, fused=True))
    for group in optimizers[-1].param_groups:
        group["peak"] = _PEAK_LEARNING_RATE
    return optimizers


def train(
    corpus: Corpus,
    tokenizer: Tokenizer,
    seed: int,
    budget: Budget,
    threads: int,
    watch: Callable[[int, LlamaForCausalLM], None] = lambda _step, _model: None,
) -> LlamaForCausalLM:
    """Trains a model.

    Args:
        corpus: Where conversations come from.
        tokenizer: Turns them into tokens.
        seed: Decides the first weights and the batches.
        budget: How long to train.
        threads: How many parts of a step are computed at once; it does not change the result.
        watch: Called after each step with the number of steps done and the averaged model, which
            it must not change.

    Returns:
        The model in float32, in evaluation mode, with weights averaged over the last steps.
    """
    torch.manual_seed(seed)
    model = new_model(tokenizer)
    weights = list(model.parameters())
    optimizers = _optimizers(model)
    rng = random.Random(f"train:{seed}")
    pad = tokenizer.get_vocab()[END_OF_TEXT]
    sources = [
        repeated_rows(tokenizer, rng),
        question_rows(conversations(corpus, seed, turns=1), tokenizer, rng),
        whole_rows(conversations(corpus, seed, only_facts=True), tokenizer),
        whole_rows(conversations(corpus, seed), tokenizer),
    ]
    stages = [
        (stage, [batches(source, pad, rng, stage.tokens) for source in sources])
        for stage in _STAGES
    ]

    def gradients(batch: Batch) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = _loss(model, *batch)
        return loss.item(), torch.autograd.grad(loss, weights)

    averaged = AveragedModel(
        model,
        avg_fn=lambda mean, new, count: mean.lerp(new, max(_AVERAGE_RATE, 10 / (int(count) + 10))),
    )
    start, seen, running = time.monotonic(), 0, 0.0
    model.train()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for step in count():
            elapsed = time.monotonic() - start
            progress = step / budget.steps
            if budget.minutes:
                progress = max(progress, elapsed / (60 * budget.minutes))
            if progress >= 1:
                break
            stage, sources_of_stage = next(each for each in stages if progress < each[0].until)
            parts = [next(each) for each in rng.choices(sources_of_stage, stage.shares, k=_PARTS)]
            results = list(pool.map(gradients, parts))
            for weight, *found in zip(weights, *(each for _, each in results), strict=True):
                weight.grad = torch.stack(found).mean(0)
            torch.nn.utils.clip_grad_norm_(weights, _CLIP_NORM)
            rate = min(1.0, (step + 1) / _WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * progress))
            for group in (group for each in optimizers for group in each.param_groups):
                group["lr"] = group["peak"] * rate
            list(pool.map(lambda optimizer: optimizer.step(), optimizers))
            seen += sum(ids.numel() for ids, _ in parts)
            running += sum(loss for loss, _ in results) / len(parts)
            if (step + 1) % _LOG_EVERY == 0:
                print(
                    f"step {step + 1} loss {running / _LOG_EVERY:.4f} tokens {seen} "
                    f"minutes {elapsed / 60:.1f}",
                    flush=True,
                )
                running = 0.0
            averaged.update_parameters(model)
            watch(step + 1, averaged.module)
    return averaged.module.eval()

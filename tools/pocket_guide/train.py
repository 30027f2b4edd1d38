"""Trains the model from scratch on generated conversations."""

import math
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel
from transformers import LlamaConfig, LlamaForCausalLM

from tools.pocket_guide import CONTEXT_TOKENS, END_OF_TEXT, IM_END, IM_START, VOCAB_SIZE
from tools.pocket_guide.conversations import Conversation, conversations
from tools.pocket_guide.copying import add_copying_heads, repeats
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.tokenizer import encode_conversation

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
_POOL_TOKENS = 40_000


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
# copy what it was told. In the end the gradients must be less noisy, so the batches are larger.
_STAGES = (
    _Stage(0.3, (0.1, 0.35, 0.3, 0.25), 768),
    _Stage(0.6, (0.0, 0.45, 0.15, 0.4), 768),
    _Stage(1.0, (0.0, 0.45, 0.15, 0.4), 1536),
)
# Most rows of single questions end a few tokens into the answer: once these are right, the rest is
# easy.
_SHORTENED_SHARE = 0.85
_SHORTENED_TOKENS = (2, 8)
_REPEATED_TOKENS = 384
# Some tokens of a single question are hidden, or the first word that gives a topic away would do:
# others then have to be known as well, and a word that was never seen leads astray less.
_HIDDEN_SHARE = 0.08

_Row = tuple[list[int], list[bool]]
_Batch = tuple[torch.Tensor, torch.Tensor]


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


def _rows(source: Iterator[Conversation], tokenizer: Tokenizer) -> Iterator[_Row]:
    for conversation in source:
        ids, learn = encode_conversation(tokenizer, conversation.messages)
        yield ids[:CONTEXT_TOKENS], learn[:CONTEXT_TOKENS]


def batches(
    rows: Iterator[_Row], pad: int, rng: random.Random, most_tokens: int
) -> Iterator[_Batch]:
    """Yields batches without end.

    Conversations of about the same length share a batch, one in each row, so that little is
    padding. The padding comes last, where a causal model never looks at it.

    Args:
        rows: Token numbers of conversations, and whether each must be learned.
        pad: Number of the token that fills the rows.
        rng: Decides the order of the batches.
        most_tokens: The most tokens of a batch of several rows, padding included.

    Yields:
        Token numbers of shape (rows, tokens), and of the same shape whether each token is one that
        the model must learn to write.
    """
    while True:
        pool: list[_Row] = []
        while sum(len(ids) for ids, _ in pool) < _POOL_TOKENS:
            pool += islice(rows, 64)
        pool.sort(key=lambda row: len(row[0]))
        groups: list[list[_Row]] = [[]]
        for row in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > most_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = len(group[-1][0])
            yield (
                torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([learn + [False] * (width - len(learn)) for _, learn in group]),
            )


def _short_rows(
    source: Iterator[Conversation], tokenizer: Tokenizer, rng: random.Random
) -> Iterator[_Row]:
    """Cuts most rows a few tokens into the content of their first answer, and hides some tokens."""
    [hidden] = tokenizer.encode(END_OF_TEXT).ids
    marks = {*tokenizer.encode(IM_START).ids, *tokenizer.encode(IM_END).ids}
    for conversation in source:
        ids, learn = encode_conversation(tokenizer, conversation.messages)
        end = len(ids)
        for place in range(0 if conversation.says_back else learn.index(True)):
            if rng.random() < _HIDDEN_SHARE and ids[place] not in marks:
                ids[place] = hidden
        if rng.random() < _SHORTENED_SHARE:
            lead = len(tokenizer.encode(conversation.lead).ids)
            end = min(end, learn.index(True) + lead + rng.randint(*_SHORTENED_TOKENS))
        yield ids[:end], learn[:end]


def _repeated_rows(tokenizer: Tokenizer, rng: random.Random) -> Iterator[_Row]:
    vocabulary = range(tokenizer.get_vocab()[IM_END] + 1, VOCAB_SIZE)
    for ids in repeats(rng, vocabulary, _REPEATED_TOKENS):
        yield ids, [place >= len(ids) // 2 for place in range(len(ids))]


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
        _repeated_rows(tokenizer, rng),
        _short_rows(conversations(corpus, seed, turns=1), tokenizer, rng),
        _rows(conversations(corpus, seed, only_facts=True), tokenizer),
        _rows(conversations(corpus, seed), tokenizer),
    ]
    stages = [
        (stage, [batches(source, pad, rng, stage.tokens) for source in sources])
        for stage in _STAGES
    ]

    def gradients(batch: _Batch) -> tuple[float, tuple[torch.Tensor, ...]]:
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
            stage, made = next(each for each in stages if progress < each[0].until)
            parts = [next(each) for each in rng.choices(made, stage.shares, k=_PARTS)]
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

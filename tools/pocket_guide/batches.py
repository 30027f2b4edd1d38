"""Turns conversations into rows of tokens, and rows into batches."""

import random
from collections.abc import Iterator
from itertools import islice

import torch
from tokenizers import Tokenizer

from tools.pocket_guide import CONTEXT_TOKENS, END_OF_TEXT, IM_END, IM_START, VOCAB_SIZE
from tools.pocket_guide.conversations import Conversation
from tools.pocket_guide.copying import repeats
from tools.pocket_guide.tokenizer import encode_conversation

_POOL_TOKENS = 40_000

# Most rows of single questions end a few tokens into the answer: once these are right, the rest is
# easy.
_SHORTENED_SHARE = 0.85
_SHORTENED_TOKENS = (2, 8)
_REPEATED_TOKENS = 384
# Some tokens of a single question are hidden, or the first word that gives a topic away would do:
# others then have to be known as well, and a word that was never seen leads astray less.
_HIDDEN_SHARE = 0.08

# Token numbers, and whether the model must learn to write each of them.
Row = tuple[list[int], list[bool]]
# The same as tensors of shape (rows, tokens).
Batch = tuple[torch.Tensor, torch.Tensor]


def whole_rows(source: Iterator[Conversation], tokenizer: Tokenizer) -> Iterator[Row]:
    """Yields whole conversations.

    Args:
        source: What they are made of.
        tokenizer: Turns them into tokens.

    Yields:
        Rows of at most `CONTEXT_TOKENS` tokens, of which the answers are learned.
    """
    for conversation in source:
        ids, learn = encode_conversation(tokenizer, conversation.messages)
        yield ids[:CONTEXT_TOKENS], learn[:CONTEXT_TOKENS]


def batches(rows: Iterator[Row], pad: int, rng: random.Random, most_tokens: int) -> Iterator[Batch]:
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
        pool: list[Row] = []
        while sum(len(ids) for ids, _ in pool) < _POOL_TOKENS:
            pool += islice(rows, 64)
        pool.sort(key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
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


def question_rows(
    source: Iterator[Conversation], tokenizer: Tokenizer, rng: random.Random
) -> Iterator[Row]:
    """Yields rows for learning to tell single questions apart.

    Args:
        source: Conversations of one question.
        tokenizer: Turns them into tokens.
        rng: Source of randomness.

    Yields:
        Rows of which most end a few tokens into the content of the answer. In place of some tokens
        before the answer stands `END_OF_TEXT`, but where something told may be said back.
    """
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


def repeated_rows(tokenizer: Tokenizer, rng: random.Random) -> Iterator[Row]:
    """Yields random tokens that repeat, without end.

    Args:
        tokenizer: Tells which tokens are special, and never drawn.
        rng: Source of randomness.

    Yields:
        Rows of at most `_REPEATED_TOKENS` tokens, of which the second half is learned.
    """
    vocabulary = range(tokenizer.get_vocab()[IM_END] + 1, VOCAB_SIZE)
    for ids in repeats(rng, vocabulary, _REPEATED_TOKENS):
        yield ids, [place >= len(ids) // 2 for place in range(len(ids))]

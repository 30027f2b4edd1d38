"""The byte-level BPE tokenizer and the chat template."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.pocket_guide import CONTEXT_TOKENS, END_OF_TEXT, IM_END, IM_START, VOCAB_SIZE

# Contents are trimmed, because the model has never seen a message with spaces around it. What it
# reads begins with a space of ours: so the first word has the tokens that it has anywhere else.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] != 'assistant' %}{{- ' ' }}{%- endif %}"
    "{{- message['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Trains the tokenizer.

    Args:
        texts: Plain texts without special tokens.

    Returns:
        A tokenizer of exactly `VOCAB_SIZE` entries that can write any text, since its alphabet is
        the 256 bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_OF_TEXT, IM_START, IM_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    size = tokenizer.get_vocab_size()
    # A small corpus may run out of pairs to merge; unused entries keep the size round.
    tokenizer.add_special_tokens([f"<|unused_{index}|>" for index in range(VOCAB_SIZE - size)])
    return tokenizer


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Makes the tokenizer loadable by transformers.

    Args:
        tokenizer: What `train_tokenizer` returned.

    Returns:
        The transformers tokenizer with the chat template and the special tokens.
    """
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def encode_conversation(
    tokenizer: Tokenizer, messages: Sequence[tuple[str, str]]
) -> tuple[list[int], list[bool]]:
    """Turns a conversation into tokens, exactly as the chat template does.

    Args:
        tokenizer: What `train_tokenizer` returned.
        messages: Pairs of role and content.

    Returns:
        The token numbers, and for each whether the model must learn to write it. Both have the
        length of the conversation in tokens.
    """
    start, end = (tokenizer.encode(mark).ids[0] for mark in (IM_START, IM_END))
    newline = tokenizer.encode("\n").ids
    ids: list[int] = []
    learn: list[bool] = []
    for role, content in messages:
        head = [start, *tokenizer.encode(f"{role}\n").ids]
        text = content if role == "assistant" else f" {content}"
        body = [*tokenizer.encode(text).ids, end]
        ids += head + body + newline
        learn += [False] * len(head) + [role == "assistant"] * len(body) + [False] * len(newline)
    return ids, learn

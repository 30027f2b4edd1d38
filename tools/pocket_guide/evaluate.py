"""Measures the model on phrasings that it has never seen."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.pocket_guide.corpus import Corpus, Question
from tools.pocket_guide.keywords import has_keywords
from tools.pocket_guide.phrasing import misspell

_PER_TOPIC = 2
_BATCH = 64
_MAX_NEW_TOKENS = 320


@dataclass(frozen=True)
class Answered:
    """One question and what the model made of it.

    Attributes:
        question: The question.
        answer: The text of the answer.
        ended: Whether the model ended the answer by itself.
    """

    question: Question
    answer: str
    ended: bool

    @property
    def right(self) -> bool:
        """Whether the answer contains all the keywords of the topic."""
        return has_keywords(self.answer, self.question.keywords)


class Chatter:
    """The exported model, loaded the way any program would load it."""

    def __init__(self, folder: Path) -> None:
        """Loads the model.

        Args:
            folder: Where the exported files are.
        """
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def answer(
        self, chats: Sequence[list[dict[str, str]]], temperature: float = 0.0
    ) -> list[tuple[str, bool]]:
        """Answers several conversations at once.

        Args:
            chats: Conversations that end with a user message.
            temperature: Zero takes the likeliest token each time.

        Returns:
            For each conversation the answer, and whether the model ended it by itself.
        """
        found: list[tuple[str, bool]] = []
        how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
        if temperature:
            how = {"do_sample": True, "temperature": temperature}
        for first in range(0, len(chats), _BATCH):
            inputs = self._tokenizer.apply_chat_template(
                chats[first : first + _BATCH],
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
                padding=True,
            )
            with torch.inference_mode():
                output = self._model.generate(
                    **inputs,
                    **how,
                    max_new_tokens=_MAX_NEW_TOKENS,
                )
            for row in output[:, inputs["input_ids"].shape[1] :]:
                text = self._tokenizer.decode(row, skip_special_tokens=True)
                found.append((text, self._tokenizer.eos_token_id in row))
        return found


def sample_held_out(corpus: Corpus, seed: int) -> list[Question]:
    """Draws held-out questions, the same number from every topic.

    Args:
        corpus: Has the held-out questions.
        seed: Decides the draw.

    Returns:
        At most two questions for each topic; more for the many topics about memory, and off-topic.
    """
    groups: dict[str, list[Question]] = {}
    for question in corpus.held_out:
        key = re.sub(r"_\d+b", "", question.topic)
        groups.setdefault(re.sub(r"memory_(float32|bfloat16|.-bit)", "memory_in", key), []).append(
            question
        )
    rng = random.Random(f"evaluate:{seed}")
    chosen = []
    for key, group in groups.items():
        count = _PER_TOPIC * (6 if key == "off_topic" or key.startswith("memory") else 1)
        chosen += rng.sample(group, min(count, len(group)))
    return chosen


def ask_all(
    chatter: Chatter,
    questions: Sequence[Question],
    temperature: float = 0.0,
    before: Sequence[dict[str, str]] = (),
    slips: random.Random | None = None,
) -> list[Answered]:
    """Asks every question.

    Args:
        chatter: The model.
        questions: The questions.
        temperature: See `Chatter.answer`.
        before: Messages before each question.
        slips: If given, each question gets one spelling slip from it.

    Returns:
        The answers in the order of the questions.
    """
    chats = [
        [
            *before,
            {"role": "user", "content": misspell(asked.text, slips) if slips else asked.text},
        ]
        for asked in questions
    ]
    answers = chatter.answer(chats, temperature)
    return [
        Answered(asked, text, ended)
        for asked, (text, ended) in zip(questions, answers, strict=True)
    ]

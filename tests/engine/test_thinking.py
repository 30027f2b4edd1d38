"""What templates do with thoughts: short ones here, each with the mechanism of a real one."""

import pytest
from tokenizers import AddedToken

from chat_ui.engine.thinking import ThinkingFacts, mark_tokens, probe, switched
from tests.engine import random_models

pytestmark = pytest.mark.torch

TURN = "{{ '<|im_start|>' + m.role + '\n' + %s + '<|im_end|>\n' }}"
ASSISTANT = "{{ '<|im_start|>assistant\n' }}"


def template(before="", content="m.content", opening=""):
    turn = TURN % content
    return (
        f"{before}{{% for m in messages %}}{turn}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{ASSISTANT}{opening}{{% endif %}}"
    )


STRIPPED = "(m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content)"
IS_OFF = "{% if enable_thinking is defined and not enable_thinking %}"

QWEN3 = template(content=STRIPPED, opening=IS_OFF + "{{ '<think>\n\n</think>\n\n' }}{% endif %}")
DEEPSEEK_R1 = template(content=STRIPPED, opening="{{ '<think>\n' }}")
# Thoughts stay where they are; the switch is a line of the system prompt.
SMOLLM3 = template(
    before="{{ '<|im_start|>system\nReasoning: ' }}"
    + IS_OFF
    + "{{ '/no_think' }}{% else %}{{ '/think' }}{% endif %}{{ '<|im_end|>\n' }}",
    opening=IS_OFF + "{{ '<think>\n\n</think>\n' }}{% endif %}",
)
# Off, unless it is switched on.
DEEPSEEK_V3_1 = template(
    before="{% if thinking is not defined %}{% set thinking = false %}{% endif %}",
    content=STRIPPED,
    opening="{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}",
)
GEMMA_4 = template(
    content="(m.content.split('<channel|>')[-1] if m.role == 'assistant' else m.content)",
    opening="{% if not enable_thinking | default(false) %}{{ '<|channel>thought\n<channel|>' }}"
    "{% endif %}",
)


@pytest.mark.parametrize(
    ("source", "facts"),
    [
        (random_models.CHATML, ThinkingFacts()),
        (QWEN3, ThinkingFacts(has_switch=True)),
        (DEEPSEEK_R1, ThinkingFacts("<think>\n")),
        (SMOLLM3, ThinkingFacts(has_switch=True)),
        (DEEPSEEK_V3_1, ThinkingFacts("", "<think>", has_switch=True)),
        (GEMMA_4, ThinkingFacts(has_switch=True)),
        (template(opening="{{ '[THINK]' }}"), ThinkingFacts("[THINK]")),
        ("{{ raise_exception('No.') }}", ThinkingFacts()),
    ],
    ids=["chatml", "qwen3", "r1", "smollm3", "v3.1", "gemma4", "magistral", "broken"],
)
def test_what_a_template_does(source, facts):
    assert probe(random_models.tokenizer(source)) == facts


def test_the_opening_follows_the_switch():
    facts = probe(random_models.tokenizer(DEEPSEEK_V3_1))
    assert [facts.opening_with(thinking) for thinking in (None, True, False)] == ["", "<think>", ""]
    # Without a switch, nothing can be switched off.
    facts = probe(random_models.tokenizer(DEEPSEEK_R1))
    assert {facts.opening_with(thinking) for thinking in (None, True, False)} == {"<think>\n"}


def test_the_switch_has_every_name_or_none():
    assert switched(None) == {}
    assert switched(False) == {"enable_thinking": False, "thinking": False}


def with_tokens(*names, special):
    tokenizer = random_models.tokenizer()
    tokenizer.add_tokens([AddedToken(name, special=special, normalized=False) for name in names])
    return tokenizer


def test_special_tokens_that_mark_thoughts_are_found():
    tokenizer = with_tokens("[THINK]", "[/THINK]", "[INST]", special=True)
    assert list(mark_tokens(tokenizer).values()) == ["[THINK]", "[/THINK]"]
    names = ["<|channel|>", "<|message|>", "<|end|>", "<|start|>"]
    tokenizer = with_tokens(*names, "<|return|>", special=True)
    found = mark_tokens(tokenizer)
    assert sorted(found.values()) == sorted(names)
    assert all(tokenizer.convert_tokens_to_ids(mark) == token for token, mark in found.items())


def test_ordinary_tokens_are_in_the_text_anyway():
    assert mark_tokens(with_tokens("<think>", "</think>", special=False)) == {}
    assert mark_tokens(with_tokens("<|end|>", "<|user|>", special=True)) == {}  # Phi's

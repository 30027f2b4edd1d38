"""The script that repeats an answer: it compiles, and its literals are what was said."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui.chat.generation import GenerationConfig
from chat_ui.chat.messages import PromptMessage
from chat_ui.chat.python_export import to_python

texts = st.one_of(
    st.text(),
    st.text(st.characters(codec=None)),
    st.text("a\"'\\\n\r\t\x00\u2028{}#\ud800", max_size=12),
)
configs = st.builds(
    GenerationConfig,
    temperature=st.just(0) | st.floats(0, 2),
    top_p=st.floats(0, 1, exclude_min=True),
    top_k=st.integers(0, 1000),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
    max_new_tokens=st.integers(1, 4096),
    seed=st.none() | st.integers(0, 2**32 - 1),
    stop=st.lists(texts.filter(bool).map(lambda text: text[:100]), max_size=8).map(tuple),
)
PROMPT = [PromptMessage("system", "Be brief."), PromptMessage("user", "Hi")]


def calls(source):
    """The keyword arguments of each call of a script, and its messages; literals evaluated."""
    compile(source.encode(), "script", "exec")
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "messages":
            found["messages"] = ast.literal_eval(node.value)
        if isinstance(node, ast.Call):
            found[ast.unparse(node.func)] = {"args": node.args} | {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in node.keywords
                if keyword.arg != "model_kwargs"
            }
    return found


def names(source):
    tree = ast.parse(source)
    return {alias.name for node in tree.body[:1] for alias in node.names}


@given(
    model=texts,
    precision=st.sampled_from(["full", "8bit", "4bit", "8bit-cpu"]) | texts,
    messages=st.lists(
        st.builds(PromptMessage, st.sampled_from(["system", "user", "assistant"]), texts)
    ),
    config=configs,
)
def test_any_input_compiles_and_means_itself(model, precision, messages, config):
    found = calls(to_python(model, precision, messages, config))
    assert found["messages"] == [{"role": m.role, "content": m.content} for m in messages]
    assert found["pipeline"]["model"] == model
    asked = found["pipe"]
    assert asked["max_new_tokens"] == config.max_new_tokens
    assert asked["repetition_penalty"] == config.repetition_penalty
    assert asked.get("stop_sequence", []) == list(config.stop)
    sampled = {
        name: asked[name] for name in ("temperature", "top_p", "top_k", "min_p") if name in asked
    }
    if config.temperature < 1e-3:
        assert (asked["do_sample"], sampled) == (False, {})
    else:
        assert asked["do_sample"] is True
        assert sampled == {
            name: getattr(config, name) for name in ("temperature", "top_p", "top_k", "min_p")
        }


def test_the_whole_script():
    config = GenerationConfig(seed=7, stop=("\n\n",))
    assert to_python("org/model", "8bit", PROMPT, config, {"load_in_8bit": True}) == (
        """\
# pip install transformers torch accelerate bitsandbytes
from transformers import BitsAndBytesConfig, pipeline, set_seed

messages = [
    {"role": 'system', "content": 'Be brief.'},
    {"role": 'user', "content": 'Hi'},
]

pipe = pipeline(
    "text-generation",
    model='org/model',
    dtype="auto",
    device_map="auto",
    model_kwargs={"quantization_config": BitsAndBytesConfig(load_in_8bit=True)},
)

# The same answer at every run, on the same machine. It is not word for word the one that
# chat_ui wrote: from the same probabilities and seed, transformers draws differently.
# Only an answer of temperature 0 is repeated exactly.
set_seed(7)
answer = pipe(
    messages,
    return_full_text=False,
    max_new_tokens=512,
    do_sample=True,
    temperature=0.7,
    top_p=0.95,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    # chat_ui ends before these; transformers writes them, too.
    stop_sequence=['\\n\\n'],
)
print(answer[0]["generated_text"])
"""
    )


def test_long_texts_stay_readable():
    text = 'def f():\n\treturn "a\\n"  # é\u00a0"""\n"'
    source = to_python("m", "full", [PromptMessage("user", text)], GenerationConfig())
    assert '"""\\\ndef f():\n\treturn ' in source
    assert "# é\\xa0" in source
    assert calls(source)["messages"] == [{"role": "user", "content": text}]


TEXTS = ['\n"', '\n""', "\n\\", '\n\\"', '"""\n', "\r\n", "\n'''", "\n{x}", "\n\ud800"]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_several_lines_mean_themselves(text):
    source = to_python(text, text, [PromptMessage("user", text)], GenerationConfig(stop=(text,)))
    found = calls(source)
    assert found["messages"] == [{"role": "user", "content": text}]
    assert (found["pipeline"]["model"], found["pipe"]["stop_sequence"]) == (text, [text])


def test_greedy_says_that_it_repeats_exactly():
    source = to_python("m", "full", PROMPT, GenerationConfig(temperature=0, seed=7))
    assert "exactly the same answer in float32" in source
    assert names(source) == {"pipeline"}
    assert "seed" not in source


def test_without_a_seed_it_says_that_it_does_not_repeat():
    source = to_python("m", "full", PROMPT, GenerationConfig())
    assert "every run gives another answer" in source
    assert names(source) == {"pipeline"}


OPTIONS = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False}


def test_a_quantization_is_asked_for_with_its_settings():
    source = to_python("m", "4bit", PROMPT, GenerationConfig(seed=1), OPTIONS)
    found = calls(source)["BitsAndBytesConfig"]
    del found["args"]
    assert found == OPTIONS
    assert names(source) == {"BitsAndBytesConfig", "pipeline", "set_seed"}
    assert "Not as it was" not in source


def test_a_begun_answer_is_said_to_go_on():
    begun = [*PROMPT, PromptMessage("assistant", "Well, ")]
    source = to_python("m", "full", begun, GenerationConfig())
    assert calls(source)["messages"][-1] == {"role": "assistant", "content": "Well, "}
    assert "the beginning of the answer" in source
    assert "or raises ValueError" in source
    assert "the beginning of the answer" not in to_python("m", "full", PROMPT, GenerationConfig())


def test_a_precision_of_our_own_is_said_to_be_left_out():
    source = to_python("m", "8bit-cpu\nimport os", PROMPT, GenerationConfig(temperature=0))
    assert "# Not as it was: precision '8bit-cpu\\nimport os' is chat_ui's own." in source
    assert "BitsAndBytes" not in source
    assert "Not as it was" not in to_python("m", "full", PROMPT, GenerationConfig())

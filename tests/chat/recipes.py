"""Recipes for the tests that make up what they test with."""

from hypothesis import strategies as st

from chat_ui.chat.generation import MAX_NEW_TOKENS, MAX_SEED, GenerationConfig
from chat_ui.chat.recipe import Recipe


def recipes(texts: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Recipe]:
    """Recipes of any kind.

    Args:
        texts: what their texts are made of; any that UTF-8 can encode, if None.
    """
    texts = st.text() if texts is None else texts
    config = st.builds(
        GenerationConfig,
        temperature=st.floats(0, 2),
        top_p=st.floats(0, 1, exclude_min=True),
        top_k=st.integers(0, 1000),
        min_p=st.floats(0, 1),
        repetition_penalty=st.floats(0.5, 2),
        max_new_tokens=st.integers(1, MAX_NEW_TOKENS),
        seed=st.none() | st.integers(0, MAX_SEED),
        stop=st.lists(texts.filter(bool).map(lambda text: text[:100]), max_size=8).map(tuple),
        assisted=st.booleans(),
    )
    return st.builds(Recipe, texts, config, texts, st.none() | st.booleans())

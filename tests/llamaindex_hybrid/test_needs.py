"""What a call asks of a model is told by its blocks; nothing is formatted, fetched or tokenized for it."""

import re
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, RichPromptTemplate, SelectorPromptTemplate

from llamaindex_hybrid.needs import MODALITY_OF, needs_of
from shared_router.guards import MODALITIES

IMAGE = ImageBlock(url="https://nowhere.invalid/x.png")


def message(*blocks: Any) -> ChatMessage:
    return ChatMessage(blocks=list(blocks))


@pytest.mark.parametrize(
    ("block", "modality"),
    [
        (IMAGE, "image"),
        (AudioBlock(url="https://nowhere.invalid/x.mp3"), "audio"),
        (VideoBlock(url="https://nowhere.invalid/x.mp4"), "video"),
        (DocumentBlock(url="https://nowhere.invalid/x.pdf"), "file"),
        (CitableBlock(title="t", source="s", content=[IMAGE]), "image"),
        (CitationBlock(cited_content=IMAGE, source="s", title="t", additional_location_info={}), "image"),
    ],
)
def test_a_block_tells_its_modality(block: Any, modality: str) -> None:
    assert needs_of([message(TextBlock(text="see"), block)], {}).modalities == {modality}
    template = ChatPromptTemplate(message_templates=[message(TextBlock(text="{query_str}"), block)])
    assert needs_of([SelectorPromptTemplate(template)], {}).modalities == {modality}


def test_every_modality_of_the_guards_can_be_found() -> None:
    assert set(MODALITY_OF.values()) == set(MODALITIES)


@pytest.mark.parametrize("name", MODALITY_OF)
def test_a_rich_template_tells_its_media_by_their_filters(name: str) -> None:
    template = RichPromptTemplate("{% chat role='user' %}{{ query_str }} {{ path |" + name + " }}{% endchat %}")
    assert needs_of([template], {"path": "x"}).modalities == {MODALITY_OF[name]}
    assert needs_of([RichPromptTemplate("{{ image }} or {{ path | upper }}")], {"path": "x"}).modalities == frozenset()


def test_text_needs_nothing() -> None:
    blocks = [TextBlock(text="a"), ThinkingBlock(content="b"), ToolCallBlock(tool_name="c")]
    needs = needs_of([message(*blocks)], {})
    assert (needs.modalities, needs.tools, needs.structured_output) == (frozenset(), False, False)
    assert needs_of([], {}, tools=True).tools
    assert needs_of([], {}, structured_output=True).structured_output


@pytest.mark.parametrize(
    ("content", "arguments", "tokens"),
    [
        (["a" * 400], {}, 100),
        (["a" * 401], {}, 101),
        # three bytes a character
        (["語" * 400], {}, 300),
        (["\ud800"], {}, 1),
        ([message(TextBlock(text="a" * 400)), message(TextBlock(text="a" * 4))], {}, 100 + 1 + 2 * 3),
        ([message(ThinkingBlock(content="a" * 40), ThinkingBlock())], {}, 10 + 3),
        ([message(ToolCallBlock(tool_name="t", tool_kwargs={"a": "b" * 391}))], {}, 100 + 3),
        ([message(CitableBlock(title="t", source="s", content="a" * 40))], {}, 10 + 3),
        ([PromptTemplate("{context_str}" + "a" * 27)], {"context_str": "a" * 400}, 110),
        ([PromptTemplate("{q}" + "a" * 37).partial_format(q="a" * 400)], {}, 110),
        (["a" * 400], {"max_tokens": 50}, 150),
        (["a" * 400], {"max_completion_tokens": 50, "num_predict": None}, 150),
        (["a" * 400], {"max_tokens": True}, 100),
        ([None, 3], {}, 0),
    ],
)
def test_tokens_are_four_bytes_each_and_what_is_reserved(content: Any, arguments: Any, tokens: int) -> None:
    assert needs_of(content, arguments).tokens == tokens


def test_the_filters_are_those_of_the_hosts_template_engine() -> None:
    import banks.filters

    there = {name for name in vars(banks.filters) if re.fullmatch("image|audio|video|document", name)}
    assert there == set(MODALITY_OF)

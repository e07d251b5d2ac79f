"""A call's content → what the call asks of a model beyond text.

Nothing is formatted or fetched for it: content is told by its blocks, and tokens are estimated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import llama_index.core
from llama_index.core.base.llms.types import (
    ChatMessage,
    CitableBlock,
    CitationBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.prompts.base import BasePromptTemplate, ChatPromptTemplate, SelectorPromptTemplate
from llama_index.core.prompts.rich import RichPromptTemplate

from shared_router.guards import Modality, Needs
from shared_router.token_estimate import TOKENS_PER_MESSAGE, estimated_tokens, reserved_tokens

__all__ = ["counted_by_host", "needs_of"]

MODALITY_OF: Mapping[str, Modality] = {"image": "image", "audio": "audio", "video": "video", "document": "file"}
"""Types of content blocks, and the filters of rich prompt templates that make them, and what they hold."""

MEDIA_FILTER = re.compile(r"\|\s*(image|audio|video|document)\b")


def counted_by_host() -> Callable[[str], float] | None:
    """Tokens of a text, counted as the host counts where it packs prompts; None where it has loaded no tokenizer.

    None is loaded for this: that takes a fifth of a second, and may fetch it.
    """
    tokenizer = llama_index.core.global_tokenizer
    return None if tokenizer is None else lambda text: len(tokenizer(text))


def needs_of(
    content: Iterable[Any],
    arguments: Mapping[str, Any],
    *,
    tools: bool = False,
    structured_output: bool = False,
    count: Callable[[str], float] = estimated_tokens,
) -> Needs:
    """What a call asks of a model.

    Args:
        content: Texts, messages and prompt templates, as the call has them; anything else is passed over.
        arguments: What fills the templates, and the model's own arguments.
        tools: Tools are offered.
        structured_output: The answer must follow a schema.
        count: Tokens of a text.
    """
    tally = _Tally(count)
    for one in content:
        tally.add(one, arguments)
    tokens = math.ceil(tally.tokens) + TOKENS_PER_MESSAGE * tally.messages + reserved_tokens(arguments)
    return Needs(frozenset(tally.modalities), tools, structured_output, tokens)


@dataclass(slots=True)
class _Tally:
    """What has been seen so far."""

    count: Callable[[str], float]
    tokens: float = 0.0
    messages: int = 0
    modalities: set[Modality] = field(default_factory=set)

    def add(self, content: Any, arguments: Mapping[str, Any]) -> None:
        if isinstance(content, str):
            self._add_text(content)
        elif isinstance(content, ChatMessage):
            self.messages += 1
            self._add_blocks(content.blocks)
        elif isinstance(content, BasePromptTemplate):
            self._add_template(content)
            for value in {**content.kwargs, **arguments}.values():
                if isinstance(value, str):
                    self._add_text(value)

    def _add_text(self, text: str) -> None:
        self.tokens += self.count(text)

    def _add_blocks(self, blocks: Iterable[Any]) -> None:
        for block in blocks:
            if isinstance(block, TextBlock):
                self._add_text(block.text)
            elif isinstance(block, ToolCallBlock):
                # what was said in tool calls is sent back too
                self._add_text(str(block.tool_kwargs))
            elif isinstance(block, ThinkingBlock):
                self._add_text(block.content or "")
            elif isinstance(block, CitableBlock):
                self._add_blocks(block.content)
            elif isinstance(block, CitationBlock):
                self._add_blocks([block.cited_content])
            elif modality := MODALITY_OF.get(block.block_type):
                self.modalities.add(modality)

    def _add_template(self, prompt: BasePromptTemplate) -> None:
        if isinstance(prompt, SelectorPromptTemplate):
            # its variants say the same in other words
            self._add_template(prompt.default_template)
        elif isinstance(prompt, ChatPromptTemplate):
            for message in prompt.message_templates:
                self.add(message, {})
        else:
            self._add_text(prompt.get_template())
        if isinstance(prompt, RichPromptTemplate):
            self.modalities |= {MODALITY_OF[name] for name in MEDIA_FILTER.findall(prompt.template_str)}

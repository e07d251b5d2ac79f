"""``generate``'s way of saying things ↔ the config and the messages that all else works with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig

__all__ = ["chat_result", "combined_result", "generate_arguments", "generate_configs", "generation_chunk"]


def generate_configs(
    count: int,
    callbacks: Callbacks,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    run_name: str | None,
    run_id: Any,
) -> list[RunnableConfig]:
    """The configs of ``count`` prompts, from what ``generate`` takes instead of one."""
    given = {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name}
    config = cast("RunnableConfig", {name: value for name, value in given.items() if value is not None})
    # a run id is for one run; core too gives it to the first prompt only
    return [{**config, "run_id": run_id} if run_id is not None and not i else config for i in range(count)]


def generate_arguments(config: RunnableConfig) -> dict[str, Any]:
    """What ``generate`` takes instead of a config."""
    return {name: config.get(name) for name in ("callbacks", "tags", "metadata")}


def combined_result(results: Sequence[tuple[BaseChatModel, LLMResult]]) -> LLMResult:
    """The results of many prompts as one.

    Args:
        results: Who answered, and what.
    """
    outputs = [result.llm_output for _, result in results]
    models = [model for model, _ in results]
    llm_output: dict[str, Any] | None
    if len(results) == 1:
        llm_output = outputs[0]
    elif models and all(model is models[0] for model in models):
        llm_output = models[0]._combine_llm_outputs(outputs)
    else:
        # one model's totals are no other's; every message has its own usage
        llm_output = {}
    return LLMResult(
        generations=[candidates for _, result in results for candidates in result.generations],
        llm_output=llm_output,
        run=[info for _, result in results for info in result.run or []] or None,
    )


def chat_result(result: LLMResult) -> ChatResult:
    """The result of one prompt, as the hooks below ``generate`` return it."""
    return ChatResult(generations=cast("list[ChatGeneration]", result.generations[0]), llm_output=result.llm_output)


def generation_chunk(message: Any) -> ChatGenerationChunk:
    """A streamed message as the hooks below ``stream`` yield it."""
    # a model that cannot stream answers with a whole message, which a generation chunk does not take
    if not isinstance(message, AIMessageChunk):
        message = AIMessageChunk(**message.model_dump(exclude={"type"}), chunk_position="last")
    return ChatGenerationChunk(message=message)

"""Which outcome tables there are, what each may be used for, and which pairs of models are measured on it.

The lists were fixed before any router was measured on them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BENCHMARKS", "FORMAT_FAILURES", "PAIRS", "SHIPPABLE", "SOURCES", "Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models of one table, by the names they have there."""

    small: str
    large: str


SHIPPABLE = ("mmlu_pro", "zeroeval", "llmrouter_dc")
"""Tables under MIT or Apache-2.0: weights that are shipped may learn from their training rows, and from no others."""

BENCHMARKS = ("routellm_mmlu", "routellm_gsm8k")
"""Never trained on, never chosen on."""

FORMAT_FAILURES: dict[str, tuple[str, ...]] = {
    "bfcl": ("gpt-4o-2024-08-06", "mistral-large-2407"),
    "routerbench_zs": ("claude-v2",),
    "llmrouter_dc": ("llama3-chatqa-1.5-8b", "llama3-chatqa-1.5-70b", "codegemma-7b"),
}
"""Models whose low marks come from the form of their answers; they say nothing of a question's difficulty."""

_ROUTELLM = (Pair("mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"),)

PAIRS: dict[str, tuple[Pair, ...]] = {
    "mmlu_pro": (
        Pair("Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct"),
        Pair("Phi-3-mini-4k-instruct", "gemini-1.5-pro-002"),
        Pair("Mixtral-8x7B-Instruct-v0.1", "gemini-1.5-pro-002"),
        Pair("Qwen1.5-7B-Chat", "Qwen1.5-72B-Chat"),
        Pair("Mistral-7B-Instruct-v0.2", "gemini-1.5-flash-002"),
    ),
    "zeroeval": (
        Pair("gemma-2-9b-it", "gemma-2-27b-it"),
        Pair("Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-70B-Instruct"),
        Pair("gemma-2-2b-it", "gpt-4o-2024-08-06"),
        Pair("gemma-2-9b-it", "gpt-4o-2024-08-06"),
        Pair("Mixtral-8x7B-Instruct-v0.1", "gpt-4o-2024-08-06"),
    ),
    "llmrouter_dc": (
        Pair("gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct"),
        Pair("qwen2.5-7b-instruct", "llama-3.1-nemotron-51b-instruct"),
        Pair("llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct"),
        Pair("mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
        Pair("mistral-7b-instruct-v0.3", "llama-3.3-nemotron-super-49b-v1"),
    ),
    "bfcl": (
        Pair("NousResearch_Hermes-2-Pro-Llama-3-8B", "claude-3-5-sonnet-20240620"),
        Pair("meta-llama_Meta-Llama-3-8B-Instruct", "meta-llama_Meta-Llama-3-70B-Instruct"),
        Pair("google_gemma-7b-it", "gpt-4-0613"),
        Pair("open-mixtral-8x7b", "gpt-4-0613"),
        Pair("open-mistral-nemo-2407", "claude-3-5-sonnet-20240620"),
    ),
    "routerbench_zs": (
        Pair("mistralai/mistral-7b-chat", "gpt-4-1106-preview"),
        Pair("mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview"),
        Pair("meta/llama-2-70b-chat", "gpt-4-1106-preview"),
        Pair("gpt-3.5-turbo-1106", "gpt-4-1106-preview"),
        Pair("mistralai/mistral-7b-chat", "zero-one-ai/Yi-34B-Chat"),
    ),
    "mot_cascade": (
        Pair("gpt-3.5-turbo/cot1", "gpt-4/cot1"),
        Pair("gpt-3.5-turbo/cot1", "gpt-4/cot1-greedy"),
        Pair("llama-2-13b/cot1", "gpt-4/cot1-greedy"),
    ),
    "alpaca_eval1": (
        Pair("llama-2-7b-chat-hf", "llama-2-70b-chat-hf"),
        Pair("vicuna-13b", "gpt4_1106_preview"),
        Pair("phi-2", "gpt4_1106_preview"),
        Pair("llama-2-13b-chat-hf", "gpt4"),
        Pair("gpt-3.5-turbo-1106", "gpt4_1106_preview"),
    ),
    "alpaca_eval2": (
        Pair("gpt-3.5-turbo-1106", "gpt4_1106_preview"),
        Pair("vicuna-7b-v1.5", "gpt4_1106_preview"),
        Pair("gemma-7b-it", "FuseChat-Gemma-2-9B-Instruct"),
        Pair("FuseChat-Llama-3.2-1B-Instruct", "FuseChat-Gemma-2-9B-Instruct"),
        Pair("OpenHermes-2.5-Mistral-7B", "gpt4_1106_preview"),
    ),
    "gsm8k_openai2021": (
        Pair("gpt3-6b_finetuning", "gpt3-175b_finetuning"),
        Pair("gpt3-6b_finetuning", "gpt3-175b_verification"),
        Pair("gpt3-6b_verification", "gpt3-175b_verification"),
    ),
    "routellm_mmlu": _ROUTELLM,
    "routellm_gsm8k": _ROUTELLM,
}
"""Small → large, per table."""

SOURCES = tuple(name for name in PAIRS if name not in BENCHMARKS)
"""Tables on which a router may be chosen (rows marked train and validation) and measured (rows marked test)."""

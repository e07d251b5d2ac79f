"""How many tokens a call has, without a tokenizer, which would have to be fetched or loaded first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["TOKENS_PER_MESSAGE", "estimated_tokens", "reserved_tokens"]

BYTES_PER_TOKEN = 4
"""What an English token has in UTF-8; in scripts with several bytes a character, fewer characters make a token."""

TOKENS_PER_MESSAGE = 3
"""What a chat template adds to each message."""

RESERVED_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
"""Call arguments that reserve room for the answer, in the providers' spellings."""


def estimated_tokens(text: str) -> float:
    """Tokens of a text, about."""
    # ASCII text says so itself, and no copy has to be made of it
    return (len(text) if text.isascii() else len(text.encode(errors="replace"))) / BYTES_PER_TOKEN


def reserved_tokens(arguments: Mapping[str, Any]) -> int:
    """Tokens that a call's arguments keep free for the answer; 0 where they do not say."""
    # a bool is an int to Python
    return max((value for key in RESERVED_KEYS if type(value := arguments.get(key)) is int), default=0)

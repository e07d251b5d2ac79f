"""Turns → the one text that is judged.

Training uses the same function, so that a router is asked at serving time for what it has learned from.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared_router.errors import QueryError
from shared_router.records import Turn

__all__ = ["query_text"]

OBSERVATION_PREFIX = "Observation:"
"""ReAct agents hand a tool's result back as a human turn that begins so (LlamaIndex' ReActChatFormatter default)."""


def query_text(query: str | Sequence[Turn]) -> str:
    """The text on which the routing decision is made.

    A plain string is judged as it stands. Of a conversation, the last human turn that has text and is not a tool's
    observation is judged: inside a tool loop that turn stays the same, and so does the decision. Where no human turn
    has text, all turns are judged together.

    Args:
        query: The user's text, or the turns of a conversation in order.

    Returns:
        The text to judge, stripped of surrounding white space; empty if there is none.

    Raises:
        QueryError: ``query`` is neither a string nor a list (or tuple) of turns.
    """
    if isinstance(query, str):
        return query.strip()
    turns = _turns(query)
    for turn in reversed(turns):
        text = turn.text.strip()
        if turn.role == "human" and text and not text.startswith(OBSERVATION_PREFIX):
            return text
    return "\n\n".join(turn.text.strip() for turn in turns if turn.text.strip())


def _turns(query: object) -> Sequence[Turn]:
    if not isinstance(query, list | tuple):
        raise QueryError(f"a query is a str or a list of Turn, got {type(query).__name__}")
    for turn in query:
        if not isinstance(turn, Turn):
            raise QueryError(f"a conversation is a list of Turn, but this one holds a {type(turn).__name__}")
    return query

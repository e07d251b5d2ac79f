"""A batch under a budget: all calls are read and scored first, then the budget says who answers which.

What is wrong with one prompt fails that one call, as in a batch without a budget, and takes no part in the sharing out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from langchain_hybrid.binding import SchemaReplay, ToolReplay
from langchain_hybrid.messages import to_turns
from langchain_hybrid.plan import Call
from shared_router.budget import SCORING, Budget, BudgetLike, Load, checked_budget, within_budget
from shared_router.deciding import Decider, RoutingRequest
from shared_router.decision import RoutingDecision
from shared_router.errors import KnobError
from shared_router.knob import split_knob
from shared_router.limits import Limit
from shared_router.token_estimate import TOKENS_PER_MESSAGE, estimated_tokens

__all__ = ["BudgetedBatch", "budgeted_batch"]


@dataclass(frozen=True, slots=True)
class BudgetedBatch:
    """The calls of a batch before the budget is shared out.

    Attributes:
        budget: A share of the calls, or an amount.
        inputs: The prompts as they came, length n.
        calls: The same, read; None for one that is wrong and will fail by itself, length n.
        requests: What the router is asked about each call that could be read, in order.
        decider: Who is to score them.
        limit: What watches the large model while serving; it counts what the budget decides.
    """

    budget: BudgetLike
    inputs: Sequence[Any]
    calls: Sequence[Call | None]
    requests: Sequence[RoutingRequest]
    decider: Decider
    limit: Limit | None

    def decided(self, decisions: Sequence[RoutingDecision]) -> list[Any]:
        """The batch with its decisions.

        Args:
            decisions: The decider's on ``requests``, as scores and guards made them.

        Returns:
            n calls, and what could not be read as it came.

        Raises:
            KnobError: The budget cannot be kept.
        """
        readable = [call for call in self.calls if call is not None]
        loads = [_load(call) if isinstance(self.budget, Budget) else Load() for call in readable]
        final = within_budget(decisions, self.budget, loads)
        for request, scored, decision in zip(self.requests, decisions, final, strict=True):
            if decision.target != scored.target:
                self.decider.conversations.remember(request.conversation, decision.target)
            if self.limit is not None:
                self.limit.note(decision.target)
        taken = iter([replace(call, decision=one) for call, one in zip(readable, final, strict=True)])
        return [one if call is None else next(taken) for one, call in zip(self.inputs, self.calls, strict=True)]


def budgeted_batch(
    inputs: Sequence[Any],
    configs: Sequence[RunnableConfig],
    kwargs: Mapping[str, Any],
    budget: BudgetLike,
    *,
    read: Callable[[Any, RunnableConfig, Mapping[str, Any]], Call],
    asked: Callable[[Call], RoutingRequest],
    decider: Decider,
) -> BudgetedBatch:
    """Read the calls of a batch.

    Args:
        inputs: The prompts, length n.
        configs: Their configs, length n.
        kwargs: The arguments of all.
        budget: A share of the calls, or an amount.
        read: The model's reader of one call.
        asked: The model's description of a call for the router.
        decider: The model's.

    Raises:
        KnobError: The budget is none, or a knob was given beside it.
    """
    checked = checked_budget(budget)
    if (knob := split_knob(kwargs)[0]) is not None:
        raise KnobError(f"say budget or {knob.name}, not both: a budget takes a knob's place for the whole batch")
    calls: list[Call | None] = []
    requests: list[RoutingRequest] = []
    for one, config in zip(inputs, configs, strict=True):
        try:
            call = read(one, config, kwargs)
            request = asked(call)
        except Exception:  # whatever is wrong with one prompt or knob is raised again by that one call
            calls.append(None)
            continue
        calls.append(call)
        requests.append(request if request.knob.forced is not None else replace(request, knob=SCORING))
    # a limit would let calls pass one after another, before the hardest of the batch is known
    return BudgetedBatch(checked, inputs, calls, requests, replace(decider, limit=None), decider.limit)


def _load(call: Call) -> Load:
    """Tokens that are sent with a call, estimated; images and other files are not counted."""
    texts = [turn.text for turn in to_turns(call.messages)]
    texts += [str(one["args"]) for said in call.messages if isinstance(said, AIMessage) for one in said.tool_calls]
    # tools and schemas are sent along with every call
    if isinstance(call.replay, ToolReplay):
        texts += [str(tool) for tool in call.replay.tools]
    elif isinstance(call.replay, SchemaReplay):
        texts.append(str(call.replay.schema))
    tokens = sum(map(estimated_tokens, texts)) + TOKENS_PER_MESSAGE * len(call.messages)
    return Load(math.ceil(tokens))

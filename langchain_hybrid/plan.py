"""What is asked of the router, and what is to be done about it: the values that pass between its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_hybrid.binding import Replay
from langchain_hybrid.messages import Recipient
from shared_router.decision import RoutingDecision
from shared_router.knob import Knob, split_knob
from shared_router.records import JSON

__all__ = ["Attempt", "Call", "Plan", "knob_in", "merged_decisions", "model_name", "recipient"]


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of the router, read once.

    Attributes:
        messages: The prompt.
        config: The whole config.
        knob: The wish that holds.
        replay: Tools or a schema to bind to the chosen model; None if there are none.
        kwargs: All other arguments, for the chosen model.
        decision: Made already where a batch was scored in one pass.
    """

    messages: list[BaseMessage]
    config: RunnableConfig
    knob: Knob
    replay: Replay | None
    kwargs: Mapping[str, Any]
    decision: RoutingDecision | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One model, ready to be asked.

    Attributes:
        record: The decision as JSON values, as response, trace and event show it.
        leg: The chosen model, or a chain around it that parses its answer.
        messages: The prompt as that model can read it.
        config: The call's config, to which the child's callbacks are added.
        kwargs: The chosen model's call arguments.
    """

    record: Mapping[str, JSON]
    leg: Runnable[LanguageModelInput, Any]
    messages: list[BaseMessage]
    config: RunnableConfig
    kwargs: Mapping[str, Any]

    @property
    def target(self) -> str:
        """Who is asked: "small", "large", or an expert's name."""
        return str(self.record["target"])

    def below(self, callbacks: CallbackManager | AsyncCallbackManager) -> RunnableConfig:
        """The config of the chosen model's call."""
        # core's patch_config, less the filling in of what is filled in already: name and id are the router's own
        kept = {name: value for name, value in self.config.items() if name not in ("run_name", "run_id")}
        return cast("RunnableConfig", {**kept, "callbacks": callbacks})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Attempt):
    """What is to be done by a router between two models.

    Attributes:
        decision: Which model answers, and why.
    """

    decision: RoutingDecision


def merged_decisions(calls: Sequence[Call], decisions: Sequence[RoutingDecision]) -> list[Call]:
    """The calls with their decisions; those that had one already keep it.

    Args:
        calls: In order.
        decisions: Of those calls that had none, in the same order.
    """
    new = iter(decisions)
    return [call if call.decision is not None else replace(call, decision=next(new)) for call in calls]


def knob_in(config: RunnableConfig) -> Knob | None:
    """The knob in a config's ``configurable``, or None.

    Raises:
        KnobError: Two knobs are given, one is misspelt, or a value does not fit.
    """
    return split_knob(config.get("configurable") or {})[0]


def model_name(model: BaseChatModel) -> str:
    """The model's name, as its own traces give it."""
    return model._get_ls_params().get("ls_model_name") or type(model).__name__


def recipient(target: str, model: BaseChatModel, kwargs: Mapping[str, Any]) -> Recipient:
    """Who is about to read the prompt; a model named at the call replaces the one that was set."""
    # no other argument changes the name, and some are of types that ls params do not expect
    params = model._get_ls_params(**({"model": kwargs["model"]} if "model" in kwargs else {}))
    return Recipient(target, params.get("ls_model_name") or type(model).__name__, params.get("ls_provider", ""))

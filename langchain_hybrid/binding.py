"""What is bound to the router, and replayed on whichever model is chosen.

Every provider spells tools and schemas its own way, so they are kept as the user gave them until a model is chosen.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import merge_configs

from shared_router.knob import KNOB_SETTINGS, split_knob

__all__ = ["BOUND_KNOB", "REPLAY", "HybridBinding", "Leg", "Replay", "SchemaReplay", "ToolReplay", "bound_settings"]

REPLAY = "__hybrid_replay__"
"""The private call keyword that carries a ``Replay`` through a binding to every entry point of the router."""

BOUND_KNOB = "__hybrid_bound_knob__"
"""The private call keyword of a bound knob; under its own name, a knob at the call would meet it as a second one."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A model ready to be called.

    Attributes:
        runnable: The chosen model itself, or a chain around it that parses its answer.
        kwargs: What has to be said at every call, such as the tools in the provider's own format.
    """

    runnable: Runnable[LanguageModelInput, Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Replay(abc.ABC):
    """Something bound to the router that is bound to a model when that is chosen.

    Attributes:
        made: The last result for each of the models, so that schemas are converted once.
    """

    made: dict[str, tuple[BaseChatModel, Leg]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @abc.abstractmethod
    def bind(self, model: BaseChatModel) -> Runnable[LanguageModelInput, Any]:
        """``model`` with the thing bound, by the model's own method."""

    def on(self, target: str, model: BaseChatModel) -> Leg:
        """The model with the thing bound, remembered.

        Args:
            target: Which of the models it is.
            model: The model.
        """
        known = self.made.get(target)
        if known is not None and known[0] is model:
            return known[1]
        leg = _leg(self.bind(model))
        self.made[target] = (model, leg)
        return leg

    def __getstate__(self) -> dict[str, Any]:
        """What has been made is made again elsewhere."""
        return {**self.__dict__, "made": {}}


def _leg(runnable: Runnable[LanguageModelInput, Any]) -> Leg:
    # a plain binding is taken apart: the model itself also has ``generate``, and closing its stream closes its run at
    # once, where a binding leaves its inner stream to the garbage collector
    if isinstance(runnable, RunnableBinding) and not runnable.config and not runnable.config_factories:
        inner = _leg(runnable.bound)
        return Leg(inner.runnable, {**inner.kwargs, **runnable.kwargs})
    return Leg(runnable)


@dataclass(frozen=True)
class ToolReplay(Replay):
    """Tools, unconverted.

    Attributes:
        tools: As they were given.
        kwargs: ``tool_choice`` and the like.
    """

    tools: Sequence[Any]
    kwargs: Mapping[str, Any]

    def bind(self, model: BaseChatModel) -> Runnable[LanguageModelInput, Any]:
        """``model.bind_tools``."""
        return model.bind_tools(self.tools, **self.kwargs)


@dataclass(frozen=True)
class SchemaReplay(Replay):
    """A schema that the answer has to follow.

    Attributes:
        schema: As it was given.
        kwargs: ``method``, ``include_raw`` and the like.
    """

    schema: Any
    kwargs: Mapping[str, Any]

    def bind(self, model: BaseChatModel) -> Runnable[LanguageModelInput, Any]:
        """``model.with_structured_output``."""
        return model.with_structured_output(self.schema, **self.kwargs)


def bound_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as a binding keeps them: a knob under its private name, all others as they are.

    Raises:
        KnobError: Two knobs are given, or a value does not fit.
    """
    knob, others = split_knob(settings)
    return {**others, BOUND_KNOB: knob} if knob is not None else others


def _merged(*configs: RunnableConfig | None) -> RunnableConfig:
    """Configs merged as core does, but a knob in a later one replaces a knob of any kind in those before."""
    merged = merge_configs(*configs)
    for config in reversed(configs):
        settings = (config or {}).get("configurable") or {}
        if any(settings.get(name) is not None for name in KNOB_SETTINGS):
            kept = {key: value for key, value in merged["configurable"].items() if key not in KNOB_SETTINGS}
            merged["configurable"] = {**kept, **{name: settings[name] for name in KNOB_SETTINGS if name in settings}}
            break
    return merged


class HybridBinding(RunnableBinding[LanguageModelInput, Any]):
    """The router with keyword arguments or config bound.

    Differs from core's binding where that loses something: a later knob replaces an earlier one of another kind, and
    ``bind_tools`` and ``with_structured_output`` keep what was bound before.
    """

    def _merge_configs(self, *configs: RunnableConfig | None) -> RunnableConfig:
        merged = _merged(self.config, *configs)
        return merge_configs(merged, *(factory(merged) for factory in self.config_factories))

    def bind(self, **kwargs: Any) -> HybridBinding:
        """Bind more keyword arguments; a knob replaces the one bound before.

        Raises:
            KnobError: Two knobs are given, or a value does not fit.
        """
        return self._copy(kwargs=bound_settings(kwargs))

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> HybridBinding:
        """Bind config; what is given here is laid over what was bound before."""
        return self._copy(config=cast("RunnableConfig", {**(config or {}), **kwargs}))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Bind tools to both models, keeping what is bound already."""
        return self._copy(kwargs=self._router.bind_tools(tools, **kwargs).kwargs)  # type: ignore[attr-defined]

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Have both models answer in a schema, keeping what is bound already."""
        return self._copy(kwargs=self._router.with_structured_output(schema, **kwargs).kwargs)  # type: ignore[attr-defined]

    @property
    def _router(self) -> BaseChatModel:
        return cast("BaseChatModel", self.bound)

    def _copy(self, *, kwargs: Mapping[str, Any] | None = None, config: RunnableConfig | None = None) -> HybridBinding:
        return type(self)(
            bound=self.bound,
            kwargs={**self.kwargs, **(kwargs or {})},
            config=_merged(self.config, config),
            config_factories=self.config_factories,
            custom_input_type=self.custom_input_type,
            custom_output_type=self.custom_output_type,
        )

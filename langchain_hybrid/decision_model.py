"""The router as a decision model, for LangChain's own ``ModelRouterMiddleware`` and whatever else asks one.

Needs langchain-core 1.8, which has brought decision models, so that it is imported from here and not from the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import Field, PrivateAttr, field_validator, model_validator

from langchain_hybrid.messages import to_turns
from shared_router.deciding import Decider, RoutingRequest
from shared_router.decision import RoutingDecision
from shared_router.errors import HybridError, MissingExtraError
from shared_router.knob import DEFAULT_KNOB, KNOB_SETTINGS, Knob, knob_from
from shared_router.records import Target, Turn
from shared_router.router import Router, as_router
from shared_router.settings import CurrentDecider, check_settings

try:
    from langchain_core.decisions import BaseDecisionModel, Choice, ClassifierResponse
    from langchain_core.decisions.types import ChoiceAnswer, Question, State
except ImportError as error:
    raise MissingExtraError('decision models are new in 1.8; run: pip install "langchain-core>=1.8"') from error

__all__ = ["HybridDecisionModel"]


class HybridDecisionModel(BaseDecisionModel):
    """Answers a choice between two models by the difficulty of the text.

    The answer's choice follows the knob; its probabilities are the difficulty itself, so that the choice need not be
    the likelier label: a high quality asks for the large model long before the small one is likely to fail.

    Args:
        router: A ``Router``, a function from a text to a difficulty in [0, 1], the path of an artifact, or None for the
            embedded default.
        small: The label in the question's criteria that stands for the small model.
        large: The label that stands for the large model.
        quality: As for ``HybridChatModel``, like the other knobs.
        max_drop: Accept at most this relative loss of quality.
        large_share: Send at most this share of calls to the large model.
        threshold: The large model is chosen from this difficulty on.
        route: ``"small"`` or ``"large"``: no routing.
        confidence: Probability with which the promise of ``quality`` or ``max_drop`` is kept, in (0, 1).
        on_router_error: The model that is chosen where the router fails.
        router_time_limit: Seconds that the router may take; None for as long as it takes.

    Raises:
        KnobError: Two knobs are given, or one is out of range or of the wrong type.
        ArtifactError: ``router`` is a path that leads to no usable artifact.
    """

    model: str = "hybrid-llm"
    router: Any = Field(default=None, repr=False, exclude=True, validate_default=True)
    small: str = "small"
    large: str = "large"
    quality: float | None = None
    max_drop: float | None = None
    large_share: float | None = None
    threshold: float | None = None
    route: Target | None = None
    confidence: float | None = None
    on_router_error: Target = "large"
    router_time_limit: float | None = None

    _current: CurrentDecider = PrivateAttr(default_factory=CurrentDecider)

    @model_validator(mode="before")
    @classmethod
    def _check_settings(cls, values: Any) -> Any:
        if isinstance(values, dict):
            check_settings(values)
            knob_from({name: values.get(name) for name in KNOB_SETTINGS})
        return values

    @field_validator("router", mode="before")
    @classmethod
    def _check_router(cls, value: Any) -> Router:
        return as_router(value)

    @property
    def _provider(self) -> str:
        return "hybrid-llm"

    @property
    def _decider(self) -> Decider:
        return self._current.under(self.router, self.on_router_error, self.router_time_limit, "per_call", 0.0)

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        requests = self._requests(state, questions)
        return self._response(questions, self._decider.decide(requests))

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        requests = self._requests(state, questions)
        return self._response(questions, await self._decider.adecide(requests))

    def _requests(self, state: State, questions: Mapping[str, Question]) -> list[RoutingRequest]:
        """One request, since all questions are about the same text; refused before anything is scored."""
        for name, question in questions.items():
            if not isinstance(question, Choice) or not {self.small, self.large} <= set(question.criteria):
                raise HybridError(
                    f"{name!r} is no choice between the labels {self.small!r} and {self.large!r}; "
                    "name the labels of your models as small= and large="
                )
        knob: Knob = knob_from({name: getattr(self, name) for name in KNOB_SETTINGS}) or DEFAULT_KNOB
        return [RoutingRequest(_query(state), knob)]

    def _response(self, questions: Mapping[str, Question], decisions: Sequence[RoutingDecision]) -> ClassifierResponse:
        (decision,) = decisions
        answers = {name: self._answer(question, decision) for name, question in questions.items()}
        return ClassifierResponse(model=decision.router_id, answers=dict(answers))

    def _answer(self, question: Any, decision: RoutingDecision) -> ChoiceAnswer:
        certain = 1.0 if decision.target == "large" else 0.0
        difficulty = certain if decision.difficulty is None else decision.difficulty
        likely = {self.small: 1.0 - difficulty, self.large: difficulty}
        choice = self.small if decision.target == "small" else self.large
        return ChoiceAnswer(
            type="choice",
            choice=choice,
            probabilities={label: likely.get(label, 0.0) for label in question.criteria},
            confidence=likely[choice],
        )


def _query(state: Any) -> str | list[Turn]:
    if isinstance(state, str):
        return state
    if isinstance(state, BaseMessage):
        return to_turns([state])
    if not isinstance(state, Sequence) or not all(isinstance(one, str | BaseMessage) for one in state):
        raise HybridError(f"the state is a text, a message or a list of messages, got {type(state).__name__}")
    return to_turns(convert_to_messages(state))

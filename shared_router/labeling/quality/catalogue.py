"""All measures by their names, as ``hybrid-llm label --by`` has them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal

from shared_router.errors import OutcomeError
from shared_router.labeling.quality.bart_score import BartScore
from shared_router.labeling.quality.bert_score import BertScore
from shared_router.labeling.quality.exact_match import EXACT_MATCH
from shared_router.labeling.quality.judge_endpoint import Endpoint
from shared_router.labeling.quality.judges import AT_ONCE, PairwiseJudge, ScoreJudge
from shared_router.labeling.quality.measure import Given, Measure
from shared_router.labeling.quality.multiple_choice import MULTIPLE_CHOICE
from shared_router.labeling.quality.numeric import NUMERIC
from shared_router.labeling.quality.own_function import OwnFunction
from shared_router.labeling.quality.reward_model import RewardModel
from shared_router.labeling.quality.rouge_l import ROUGE_L

__all__ = ["MEASURES", "measure_named"]


def _pairwise(
    model: str,
    url: str | None = None,
    key_env: str | None = None,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
    pairs: Literal["matched", "all"] = "matched",
    at_once: int = AT_ONCE,
) -> Measure:
    return PairwiseJudge(Endpoint(model, url, key_env, temperature, max_tokens), pairs, at_once)


def _score(
    model: str,
    url: str | None = None,
    key_env: str | None = None,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
    at_once: int = AT_ONCE,
) -> Measure:
    return ScoreJudge(Endpoint(model, url, key_env, temperature, max_tokens), at_once)


MEASURES: dict[str, Callable[..., Measure]] = {
    "exact_match": lambda: EXACT_MATCH,
    "numeric": lambda: NUMERIC,
    "multiple_choice": lambda: MULTIPLE_CHOICE,
    "rouge_l": lambda: ROUGE_L,
    "bertscore": BertScore,
    "bartscore": BartScore,
    "judge": _pairwise,
    "judge_score": _score,
    "reward_model": RewardModel,
    "function": OwnFunction,
    "given": Given,
}


def measure_named(name: str, **settings: object) -> Measure:
    """A measure by its name.

    Args:
        name: One of ``MEASURES``; a hyphen is as good as an underscore.
        **settings: What the measure is to be made with, by the names of its own parameters.

    Raises:
        OutcomeError: There is no such measure, it has no such setting, or it needs one that is not given.
    """
    make = MEASURES.get(name.replace("-", "_"))
    if make is None:
        raise OutcomeError(f"there is no measure {name!r}; there are {', '.join(MEASURES)}")
    parameters = inspect.signature(make).parameters
    unknown = [_option(setting) for setting in settings if setting not in parameters]
    if unknown:
        known = ", ".join(map(_option, parameters)) or "no options"
        raise OutcomeError(f"{name} has no {', '.join(unknown)}; it has {known}")
    missing = [
        _option(parameter.name)
        for parameter in parameters.values()
        if parameter.default is parameter.empty and parameter.name not in settings
    ]
    if missing:
        raise OutcomeError(f"{name} needs {', '.join(missing)}")
    return make(**settings)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")

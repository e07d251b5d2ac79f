"""What is checked before a collection asks anything: its settings, and the file that it goes on with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from shared_router.errors import HybridError, OutcomeError
from shared_router.labeling.journal import Journal, Recorded
from shared_router.labeling.respondents import Respondent
from shared_router.records import JSON, Target
from shared_router.tables.prompts import Prompt, conversation_hash

__all__ = ["check_continues", "check_prices", "check_settings"]


def check_settings(
    prompts: Sequence[Prompt], least: Mapping[str, tuple[float, float]], max_cost_usd: float | None
) -> None:
    """Refuse what cannot be collected.

    Args:
        prompts: To be asked.
        least: Settings by name: the value, and the smallest that can be used.
        max_cost_usd: None = without limit.

    Raises:
        OutcomeError: There is no prompt, two have the same id, or one holds what JSON cannot.
        HybridError: A setting that is too small.
    """
    if not prompts:
        raise OutcomeError("there is no prompt to ask")
    doubled = [name for name, count in Counter(prompt.id for prompt in prompts).items() if count > 1]
    if doubled:
        raise OutcomeError(f"{len(doubled)} ids stand for more than one prompt, among them {doubled[0]!r}")
    for prompt in prompts:
        try:
            # before anything is paid for
            json.dumps([prompt.text, prompt.reference, dict(prompt.columns)], allow_nan=False)
        except (TypeError, ValueError) as error:
            raise OutcomeError(f"prompt {prompt.id!r} holds what JSON cannot ({error})") from error
    for name, (value, smallest) in least.items():
        if not value >= smallest:
            raise HybridError(f"{name} is at least {smallest:g}, got {value}")
    if max_cost_usd is not None and not max_cost_usd > 0:
        raise HybridError(f"max_cost_usd is above 0, got {max_cost_usd}")


def check_prices(models: Mapping[Target, Respondent]) -> None:
    """Refuse a budget for models whose prices are not known.

    Raises:
        HybridError: A model has no price.
    """
    unpriced = [target for target, model in models.items() if model.price is None]
    if unpriced:
        raise HybridError(
            f"max_cost_usd needs the price of the {' and the '.join(unpriced)} model: "
            f"{', '.join(f'--{target}-price IN,OUT' for target in unpriced)} (price=Price(…))"
        )


def check_continues(journal: Journal, prompts: Sequence[Prompt], models: Mapping[Target, Respondent]) -> None:
    """Refuse to add to a file what would not be comparable with what is in it.

    Raises:
        OutcomeError: Another model, other settings, or another prompt under the same id.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    for row in journal.rows:
        outcome = row.outcome
        model = models[outcome.target]
        if outcome.model not in ("", model.name):
            raise OutcomeError(
                f"{journal.path} has answers of the {outcome.target} model {outcome.model!r}, not of {model.name!r}; "
                "choose another file for another model"
            )
        settings = row.asked.get("settings", model.settings)
        if settings != model.settings:
            raise OutcomeError(
                f"{journal.path} has answers of {model.name!r} drawn with {_shown(settings)}, not with "
                f"{_shown(model.settings)}; use these settings, or another file"
            )
        prompt = by_id.get(outcome.id)
        if prompt is not None and _differs(row, prompt):
            raise OutcomeError(
                f"{journal.path} has answers to another prompt (or with another reference) under the id "
                f"{outcome.id!r}; give a prompt that was changed a new id, or choose another file"
            )


def _differs(row: Recorded, prompt: Prompt) -> bool:
    # as a file gives it back: with lists for tuples
    reference = json.loads(json.dumps(prompt.reference))
    same = (row.outcome.prompt, row.outcome.reference) == (prompt.text, reference)
    conversation = row.asked.get("messages")
    return not same or (conversation is not None and conversation != conversation_hash(prompt.messages))


def _shown(settings: JSON) -> str:
    if not isinstance(settings, Mapping):
        return str(settings)
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "the model's own settings"

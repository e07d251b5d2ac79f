"""``batch`` and ``abatch`` under a budget."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from langchain_hybrid import decision_of
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.budget import Budget
from shared_router.errors import KnobError
from shared_router.limits import ShareLimit
from shared_router.router import Router
from shared_router.testing import BrokenDifficulty, TableDifficulty, linear_calibration_set, table_router

PROMPTS = ("a", "b", "c", "d", "e")
DIFFICULTY = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.7, "e": 0.3}
IMAGE = [
    HumanMessage(
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}, {"type": "text", "text": "a"}]
    )
]


@tool
def search(text: str) -> str:
    """Look a text up."""
    return text


@pytest.fixture(params=[False, True], ids=["batch", "abatch"])
def batch(request: pytest.FixtureRequest) -> Any:
    async def ask(model: Any, prompts: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        if request.param:
            return await model.abatch(list(prompts), config, **kwargs)
        return model.batch(list(prompts), config, **kwargs)

    return ask


@pytest.fixture(autouse=True)
def difficulties(pair: Any) -> None:
    pair.difficulty = TableDifficulty(DIFFICULTY)


def targets(answers: list[Any]) -> list[str]:
    return [decision_of(answer)["target"] for answer in answers]


async def test_the_most_difficult_share_goes_to_the_large_model(pair: Any, batch: Any) -> None:
    answers = await batch(pair.model(), PROMPTS, budget=0.4)
    assert targets(answers) == ["small", "large", "small", "large", "small"]
    assert pair.difficulty.asked == [list(PROMPTS)]
    record = decision_of(answers[1])
    assert (record["reason"], record["difficulty"], record["threshold"]) == ("budget", 0.9, None)
    assert record["knob"] == {"large_share": 0.4}


@pytest.mark.parametrize(("budget", "large"), [(0.0, 0), (0.19, 0), (0.2, 1), (0.6, 3), (1.0, 5)])
async def test_the_share_is_used_up_and_kept(pair: Any, batch: Any, budget: float, large: int) -> None:
    assert targets(await batch(pair.model(), PROMPTS, budget=budget)).count("large") == large


async def test_it_takes_the_place_of_every_knob_that_holds(pair: Any, batch: Any) -> None:
    answers = await batch(pair.model(quality=1.0), PROMPTS, {"configurable": {"threshold": 0.0}}, budget=0.2)
    assert targets(answers).count("large") == 1
    # a function cannot grant a share as a knob, but in a batch the hardest are known
    answers = await batch(pair.model(router=lambda text: DIFFICULTY[text]), PROMPTS, budget=0.2)
    assert targets(answers) == ["small", "large", "small", "small", "small"]
    certified = table_router(DIFFICULTY, calibration_set=linear_calibration_set())
    answers = await batch(pair.model(router=certified, quality=0.9, confidence=0.95), PROMPTS, budget=0.2)
    assert targets(answers) == ["small", "large", "small", "small", "small"]


async def test_a_knob_at_the_same_call_is_an_error(pair: Any, batch: Any) -> None:
    with pytest.raises(KnobError, match="say budget or quality, not both"):
        await batch(pair.model(), PROMPTS, budget=0.4, quality=0.5)
    assert not pair.called


async def test_guards_stay_in_force_and_count(pair: Any, batch: Any) -> None:
    configs = [{"configurable": {"route": "large"}}, *({"tags": ["t"]} for _ in PROMPTS[1:])]
    model = pair.model(small_capabilities={"modalities": ()}, large_capabilities={"modalities": ("image",)})
    answers = await batch(model, [*PROMPTS[:4], IMAGE], configs, budget=0.6)
    assert targets(answers) == ["large", "large", "small", "small", "large"]
    assert [decision_of(one)["reason"] for one in answers] == ["forced", "budget", "budget", "budget", "modality"]


async def test_a_budget_that_cannot_be_kept_is_refused_before_anything_is_asked(pair: Any, batch: Any) -> None:
    config = {"configurable": {"route": "large"}}
    with pytest.raises(KnobError, match="allows 2 calls"):
        await batch(pair.model(), PROMPTS, config, budget=0.4, return_exceptions=True)
    assert not pair.called


async def test_what_is_wrong_with_one_prompt_fails_that_one_and_does_not_count(pair: Any, batch: Any) -> None:
    configs = [{"configurable": one} for one in ({}, {"quality": 7}, {}, {}, {})]
    answers = await batch(pair.model(), PROMPTS, configs, budget=0.5, return_exceptions=True)
    assert isinstance(answers[1], KnobError)
    assert targets([one for one in answers if not isinstance(one, KnobError)]) == ["small", "large", "large", "small"]


async def test_an_answer_that_fails_is_returned_in_its_place(pair: Any, batch: Any) -> None:
    pair.large = ScriptedChatModel(model="grand-1", answers=[OSError("down")])
    answers = await batch(pair.model(), PROMPTS, budget=0.2, return_exceptions=True)
    assert isinstance(answers[1], OSError)
    with pytest.raises(OSError, match="down"):
        await batch(pair.model(), PROMPTS, budget=0.2)


async def test_money(pair: Any, batch: Any) -> None:
    # five calls of 1 + 3 tokens in and 100 out: 0.0001 and 0.001 each, and 0.0000004 and 0.000004 for the prompts
    budget = Budget(0.0024, small_price=(0.1, 1.0), large_price=(1.0, 10.0), output_tokens=100)
    answers = await batch(pair.model(), PROMPTS, budget=budget)
    assert targets(answers) == ["small", "large", "small", "large", "small"]
    with pytest.raises(KnobError, match="too small for 5 calls"):
        await batch(pair.model(), PROMPTS, budget=Budget(0.0001, (0.1, 1.0), (1.0, 10.0), 100))


async def test_tools_are_part_of_what_is_paid_for(pair: Any, batch: Any) -> None:
    budget = Budget(0.00004, small_price=(1.0, 0.0), large_price=(2.0, 0.0), output_tokens=0)
    assert targets(await batch(pair.model(), PROMPTS, budget=budget)).count("large") == 5
    with pytest.raises(KnobError, match="too small"):
        await batch(pair.model().bind_tools([search]), PROMPTS, budget=budget)


async def test_it_can_be_bound_and_stands_in_a_chain(pair: Any, batch: Any) -> None:
    chain = ChatPromptTemplate.from_template("{q}") | pair.model(quality=1.0).bind(budget=0.2)
    assert targets(await batch(chain, [{"q": text} for text in PROMPTS])).count("large") == 1


async def test_a_router_that_fails_costs_no_answer_and_no_budget(pair: Any, batch: Any) -> None:
    router = Router(BrokenDifficulty(), curve=None, router_id="broken")
    answers = await batch(pair.model(router=router), PROMPTS, budget=0.4)
    assert targets(answers).count("large") == 2
    assert {decision_of(one)["reason"] for one in answers} == {"router_error", "budget"}


async def test_conversations_settle_on_what_the_budget_decides(pair: Any, batch: Any) -> None:
    configs = [{"configurable": {"thread_id": text}} for text in PROMPTS]
    model = pair.model(stickiness="sticky")
    first = await batch(model, PROMPTS, configs, budget=0.4)
    again = await batch(model, PROMPTS, configs)
    assert targets(first) == targets(again)
    assert {decision_of(one)["reason"] for one in again} == {"sticky"}


async def test_a_limit_counts_the_batch_and_leaves_the_choice_to_the_budget(pair: Any, batch: Any) -> None:
    limit = ShareLimit(0.1)
    answers = await batch(pair.model(limit=limit), PROMPTS, budget=0.4)
    assert targets(answers) == ["small", "large", "small", "large", "small"]
    assert limit.realised == pytest.approx(0.4)


async def test_runs_are_traced_one_each(pair: Any, batch: Any) -> None:
    await batch(pair.model(), PROMPTS, {"callbacks": [pair.recorder]}, budget=0.4)
    assert sum("hybrid:large" in run.tags for run in pair.recorder.runs) == 2


async def test_an_empty_batch(pair: Any, batch: Any) -> None:
    assert await batch(pair.model(), [], budget=0.4) == []

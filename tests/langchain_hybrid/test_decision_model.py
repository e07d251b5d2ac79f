"""The router behind LangChain's own router middleware."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage

from shared_router.errors import HybridError, KnobError
from shared_router.testing import table_router

decisions = pytest.importorskip("langchain_core.decisions", reason="decision models are new in langchain-core 1.8")

QUESTION = {"type": "choice", "instructions": "Which model?", "criteria": {"fast": None, "strong": None, "other": None}}


def classifier(**settings: Any) -> Any:
    from langchain_hybrid.decision_model import HybridDecisionModel

    known = {"router": table_router({"easy": 0.05, "hard": 0.95}), "small": "fast", "large": "strong"}
    return HybridDecisionModel(**{**known, "quality": 0.5, **settings})


async def ask(model: Any, state: Any, *, is_async: bool) -> Any:
    request = {"state": state, "questions": {"q": decisions.Choice(**QUESTION)}}
    response = await model.ainvoke(request) if is_async else model.invoke(request)
    return response.choices["q"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("wrap", [str, HumanMessage, lambda text: [HumanMessage(text), AIMessage("so")]])
async def test_a_choice_follows_the_knob_and_its_probabilities_the_difficulty(is_async: bool, wrap: Any) -> None:
    easy = await ask(classifier(), wrap("easy"), is_async=is_async)
    hard = await ask(classifier(), wrap("hard"), is_async=is_async)
    assert (easy.choice, hard.choice) == ("fast", "strong")
    assert easy.probabilities == pytest.approx({"fast": 0.95, "strong": 0.05, "other": 0.0})
    assert hard.confidence == pytest.approx(0.95)
    careful = await ask(classifier(quality=None, threshold=0.01), wrap("easy"), is_async=is_async)
    assert (careful.choice, careful.confidence) == ("strong", pytest.approx(0.05))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_broken_router_does_not_end_the_run(is_async: bool) -> None:
    answer = await ask(classifier(router=lambda text: 1 / 0), "easy", is_async=is_async)
    assert (answer.choice, answer.confidence) == ("strong", 1.0)


async def test_what_it_cannot_answer_is_refused() -> None:
    with pytest.raises(HybridError, match="no choice between the labels 'cheap' and 'strong'"):
        await ask(classifier(small="cheap"), "easy", is_async=False)
    with pytest.raises(HybridError, match="text, a message or a list"):
        await ask(classifier(), {"task": 1}, is_async=False)
    with pytest.raises(KnobError):
        classifier(threshold=0.5)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("is_async", [False, True])
async def test_it_drives_the_model_router_middleware(pair: Any, is_async: bool) -> None:
    from langchain.agents.middleware import ModelChoice, ModelRouterMiddleware

    routing = ModelRouterMiddleware(
        choices={"fast": ModelChoice(pair.small, "easy tasks"), "strong": ModelChoice(pair.large, "hard tasks")},
        instructions="Choose.",
        classifier=classifier(),
    )
    agent = create_agent(pair.large, [], middleware=[routing])
    for text in ("easy", "hard"):
        prompt = {"messages": [HumanMessage(text)]}
        _ = await agent.ainvoke(prompt) if is_async else agent.invoke(prompt)
    assert pair.called == ["small", "large"]


def test_an_older_core_names_the_install_line() -> None:
    code = """
import sys
sys.modules["langchain_core.decisions"] = None
try:
    import langchain_hybrid.decision_model
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingExtraError")
    assert "langchain-core>=1.8" in run.stdout

"""Agents run to the end with both models taking turns."""

from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from llamaindex_hybrid import query

# Workflow finds its steps with inspect.getmembers, which reads pydantic's deprecated properties of an agent
# (workflows/utils.py, get_steps_from_instance)
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    # ReActAgent.take_step asks it in every step
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ToolCallBlock(tool_name="add", tool_kwargs={"a": 1, "b": 2})


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_tool_loop_stays_with_the_model_of_its_question(pair: Any, streaming: bool) -> None:
    pair.small.replies = pair.large.replies = [ADD, "three", ADD, "three"]
    agent = FunctionAgent(tools=[add], llm=pair.llm, streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
    assert str(await agent.run("easy", memory=memory)) == "three"
    assert str(await agent.run("hard", memory=memory)) == "three"
    assert pair.asked == ["easy", "easy", "hard", "hard"]
    assert (len(pair.small.received), len(pair.large.received)) == (2, 2)
    # the large model sees the small one's turn, with ids that agree
    history = pair.large.received[-1]
    calls = [block.tool_call_id for message in history for block in message.blocks if isinstance(block, ToolCallBlock)]
    results = [message.additional_kwargs["tool_call_id"] for message in history if message.role == "tool"]
    assert calls == results
    assert len(set(calls)) == 2


@pytest.mark.parametrize("streaming", [True, False])
async def test_models_take_turns_within_one_loop(pair: Any, streaming: bool) -> None:
    def look() -> str:
        """Look, and let the other model go on."""
        pair.llm.route = "small"
        return "seen"

    pair.large.replies = [ToolCallBlock(tool_name="look")]
    pair.small.replies = ["done"]
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(look)], llm=pair.llm, streaming=streaming)
    assert str(await agent.run("hard")) == "done"
    assert (len(pair.large.received), len(pair.small.received)) == (1, 1)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_react_agents_observations_are_not_its_question(pair: Any, streaming: bool) -> None:
    act = 'Thought: I need a tool.\nAction: add\nAction Input: {"a": 1, "b": 2}'
    pair.large.replies = ["Thought: I act.\nAction: add", act, "Thought: I can answer.\nAnswer: three"]
    agent = ReActAgent(tools=[FunctionTool.from_defaults(add)], llm=pair.llm, streaming=streaming)
    assert str(await agent.run("hard")) == "three"
    assert set(pair.asked) == {"hard"}
    assert pair.small.called == []


async def test_a_team_of_agents_hands_over_from_one_model_to_the_other(pair: Any) -> None:
    pair.large.replies = [
        ToolCallBlock(tool_name="handoff", tool_kwargs={"to_agent": "writer", "reason": "it can write"}),
        "the end",
    ]
    pair.small.replies = ["the end"]

    def note(text: str) -> str:
        """Take a note."""
        pair.llm.route = "small"
        return text

    research = FunctionAgent(
        name="research", description="finds", llm=pair.llm, tools=[add], can_handoff_to=["writer"], system_prompt="r"
    )
    writer = FunctionAgent(name="writer", description="writes", llm=pair.llm, tools=[note], system_prompt="w")
    workflow = AgentWorkflow(agents=[research, writer], root_agent="research", initial_state={"notes": "none"})
    assert str(await workflow.run("hard")) == "the end"
    # the state that the workflow writes around the message is not judged
    assert set(pair.asked) == {"hard"}


async def test_an_agent_with_an_output_class(pair: Any, answer: Any) -> None:
    pair.large.replies = [ADD, "three", answer.call]
    agent = FunctionAgent(tools=[add], llm=pair.llm, output_cls=answer.cls)
    result = await agent.run("hard")
    assert result.get_pydantic_model(answer.cls).text == "yes"
    assert set(pair.asked) == {"hard"}


async def test_the_decision_is_in_no_message_that_is_remembered(pair: Any) -> None:
    pair.large.replies = [ADD, "three"]
    memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
    await FunctionAgent(tools=[add], llm=pair.llm).run("hard", memory=memory)
    remembered = await memory.aget_all()
    assert len(remembered) == 4
    assert not any("hybrid" in message.additional_kwargs for message in remembered)


async def test_a_conversation_of_runs_keeps_its_model(pair: Any) -> None:
    pair.llm.stickiness = "sticky"
    pair.large.replies = [ADD, "three", "four"]
    agent = FunctionAgent(tools=[add], llm=pair.llm)
    with query(conversation="run"):
        assert str(await agent.run("hard")) == "three"
        assert str(await agent.run("easy")) == "four"
    assert pair.small.received == []

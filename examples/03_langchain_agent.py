"""A LangChain agent with tools whose model is two models.

Each step of an agent is a call of its own, and each call is routed. Two things matter here:

- Inside a tool loop the question stays the one that the user asked, and so does the difficulty: a step that only reads
  a tool's result does not flip to the other model.
- A model that cannot call tools is not asked to: its profile says so, or ``small_capabilities=``. The small model of
  the light pair cannot, so that every step that offers tools goes to the large one, for the reason "tools"; the last
  step, which only puts a result into words, is scored again.

    python examples/03_langchain_agent.py           SmolLM2-135M and Qwen2.5-Coder-0.5B
    python examples/03_langchain_agent.py large     Qwen2.5-Coder 0.5B and 1.5B, which both call tools
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_hybrid import HybridChatModel
from shared_router.router import RouterLike

INSTRUCTION = "You are a shop assistant. Use the tools."
PRICES = {"apple": 0.40, "bread": 3.20, "tea": 4.50}


@tool
def price(product: str) -> str:
    """The price of one piece of a product."""
    euros = PRICES.get(product.lower().removesuffix("s"))
    return f"{product} costs {euros:.2f} euros" if euros is not None else f"we do not sell {product}"


@wrap_model_call
def helping_small_models(request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]) -> ModelResponse:
    """Two crutches that very small models need; large ones walk without.

    They write a tool call as plain text instead of in their own format, and having seen one they go on writing it. So
    the call is read from the text, and its result is handed back as what was observed. The router knows that word and
    still judges the question.
    """
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        questions = [message for message in request.messages if isinstance(message, HumanMessage)]
        observed = HumanMessage(f"Observation: {last.text}. Answer my question in one sentence.")
        return handler(request.override(tools=[], messages=[*questions, observed]))
    response = handler(request)
    return ModelResponse(
        result=[with_tool_calls(message) for message in response.result],
        structured_response=response.structured_response,
    )


def with_tool_calls(message: BaseMessage) -> BaseMessage:
    """The message, with a tool call in place of text that is nothing but one.

    Args:
        message: What the model answered.
    """
    if not isinstance(message, AIMessage) or message.tool_calls:
        return message
    text = re.sub(r"^```(?:json)?|```$", "", message.text.strip()).strip()
    try:
        call = json.loads(text)
        made = {"name": call["name"], "args": dict(call["arguments"]), "id": f"call-{message.id}"}
    except (ValueError, TypeError, KeyError):
        return message
    return message.model_copy(update={"content": "", "tool_calls": [{**made, "type": "tool_call"}]})


def described(message: BaseMessage) -> str:
    """One step of the agent in one line.

    Args:
        message: A message of the conversation.
    """
    decision = message.response_metadata.get("hybrid")
    who = f"{decision['model']} ({decision['reason']})" if decision else message.type
    said = " ".join(f"→ {call['name']}({call['args']})" for call in getattr(message, "tool_calls", ()))
    return f"{who}: {said or message.text}"


def main(small: BaseChatModel, large: BaseChatModel, router: RouterLike = None) -> None:
    """Ask an agent two questions and print each of its steps with the model that took it.

    Args:
        small: The small model.
        large: The large model.
        router: By default the embedded one.
    """
    model = HybridChatModel(small=small, large=large, router=router, quality=0.9)
    agent = create_agent(model, tools=[price], system_prompt=INSTRUCTION, middleware=[helping_small_models])
    for question in ("What does bread cost?", "What does tea cost?"):
        state = agent.invoke({"messages": [("human", question)]}, {"recursion_limit": 12})
        for message in state["messages"]:
            print(described(message))
        print()


if __name__ == "__main__":
    from local_models.pairs import chat_models, local_pair

    with local_pair("large" if sys.argv[1:] == ["large"] else "light") as pair:
        main(*chat_models(pair, max_tokens=80))

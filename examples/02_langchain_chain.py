"""A LangChain chain whose model is two models.

``HybridChatModel`` goes where any chat model goes: into a prompt | model | parser chain, with ``invoke``, ``batch`` and
``stream``. The knob is a default of the model and can be turned at each call, through the config that LangChain passes
along the whole chain.

    python examples/02_langchain_chain.py       runs on two small local models, downloaded the first time
"""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_hybrid import HybridChatModel
from shared_router.router import RouterLike

PROMPT = ChatPromptTemplate.from_messages(
    [("system", "You explain things in one short sentence."), ("human", "What is {thing}?")]
)


def main(small: BaseChatModel, large: BaseChatModel, router: RouterLike = None) -> None:
    """Show the ways to call a chain.

    Args:
        small: The small model.
        large: The large model.
        router: By default the embedded one.
    """
    model = HybridChatModel(small=small, large=large, router=router, quality=0.9)
    chain = PROMPT | model | StrOutputParser()

    print("invoke:     ", chain.invoke({"thing": "a teapot"}))

    # the decision lies on the message, before the parser reduces it to text
    message = (PROMPT | model).invoke({"thing": "a teapot"})
    print("decision:   ", message.response_metadata["hybrid"])

    # this call only: any knob, in the config; it replaces the model's own
    thrifty = chain.invoke({"thing": "a hash table"}, config={"configurable": {"quality": 0.2}})
    print("quality 0.2:", thrifty)
    forced = chain.invoke({"thing": "a hash table"}, config={"configurable": {"route": "large"}})
    print("large:      ", forced)

    # each question of a batch gets a decision of its own
    for text in chain.batch([{"thing": "rain"}, {"thing": "the axiom of choice"}]):
        print("batch:      ", text)

    print("stream:     ", end=" ")
    for piece in chain.stream({"thing": "a lighthouse"}):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    from local_models.pairs import chat_models, local_pair

    with local_pair() as pair:
        main(*chat_models(pair, max_tokens=60))

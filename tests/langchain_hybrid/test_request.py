"""What the router is asked about a call: which text, by the user's word."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_hybrid import HybridChatModel
from langchain_hybrid.testing import ScriptedChatModel
from shared_router.errors import HybridError
from shared_router.testing import table_router


class TestTheJudgedText:
    PROMPT = (HumanMessage("hard"), AIMessage("Well."), HumanMessage("<reminder>easy</reminder>"))

    def model(self, **settings: Any) -> HybridChatModel:
        router = table_router({"hard": 0.9}, otherwise=0.1)
        return HybridChatModel(small=ScriptedChatModel(), large=ScriptedChatModel(), router=router, **settings)

    def target(self, **settings: Any) -> str:
        answer = self.model(threshold=0.5, **settings).invoke(list(self.PROMPT))
        return str(answer.response_metadata["hybrid"]["target"])

    def test_is_the_last_ask_unless_the_user_says_otherwise(self) -> None:
        assert self.target() == "small"
        assert self.target(judged=lambda messages: messages[0].text) == "large"

    def test_a_function_that_fails_costs_no_answer(self) -> None:
        def broken(messages: list[BaseMessage]) -> str:
            raise OSError("broken")

        assert self.target(judged=broken) == "small"
        assert self.target(judged=lambda messages: None) == "small"

    def test_something_else_than_a_function_is_refused(self) -> None:
        with pytest.raises(HybridError, match="judged is a function"):
            self.model(judged="the last one")

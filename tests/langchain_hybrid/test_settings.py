"""What is set about routing itself: refused where it does not fit, and in force from when it is set."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from langchain_hybrid import HybridRoutingMiddleware, decision_of
from shared_router.errors import HybridError


class TestARouterThatIsTooSlow:
    async def test_does_not_hold_up_the_call(self, pair: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
        released = threading.Event()

        def slow(text: str) -> float:
            released.wait(5.0)
            return 0.0

        begin = time.monotonic()
        answer = await ask(pair.model(router=slow, router_time_limit=0.02), "easy and secret")
        released.set()
        assert (decision_of(answer)["target"], decision_of(answer)["reason"]) == ("large", "router_timeout")
        assert time.monotonic() - begin < 3.0
        assert "took more than" in caplog.text
        assert "secret" not in caplog.text

    async def test_a_quick_one_is_heard_in_time(self, pair: Any, ask: Any) -> None:
        assert decision_of(await ask(pair.model(router_time_limit=5.0), "easy"))["reason"] == "score"


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "wrong", "said"),
        [
            ("on_router_error", "huge", "on_router_error"),
            ("router_time_limit", 0, "router_time_limit"),
            ("router_time_limit", float("nan"), "router_time_limit"),
            ("router_time_limit", True, "router_time_limit"),
            ("fallback", "small", "fallback"),
            ("stickiness", "always", "stickiness"),
            ("switch_cost", 2, "switch cost"),
            ("conversation", "thread", "conversation"),
            ("small_capabilities", {"vision": True}, "capabilities are"),
            ("large_capabilities", {"tools": "yes"}, "tools"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, pair: Any, name: str, wrong: Any, said: str) -> None:
        with pytest.raises(HybridError, match=said):
            pair.model(**{name: wrong})
        with pytest.raises(HybridError, match=said):
            HybridRoutingMiddleware(pair.small, pair.large, router=pair.router, **{name: wrong})

    def test_one_that_is_reassigned_holds(self, pair: Any) -> None:
        model = pair.model(router=lambda text: 1 / 0)
        assert decision_of(model.invoke("easy"))["target"] == "large"
        model.on_router_error = "small"
        assert decision_of(model.invoke("easy"))["target"] == "small"
        model.router = pair.router
        assert decision_of(model.invoke("hard"))["reason"] == "score"

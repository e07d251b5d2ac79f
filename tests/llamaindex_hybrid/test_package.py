import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llama_index.core.llms import ChatMessage

import llamaindex_hybrid
from llamaindex_hybrid import HybridLLM, decision_of, query
from llamaindex_hybrid.testing import ScriptedLLM


def test_public_names_are_sorted_and_explained() -> None:
    assert llamaindex_hybrid.__all__ == sorted(llamaindex_hybrid.__all__)
    assert all(getattr(llamaindex_hybrid, name).__doc__ for name in llamaindex_hybrid.__all__)


def test_without_the_host_the_install_line_is_named() -> None:
    code = "import sys; sys.modules['llama_index.core'] = None; import llamaindex_hybrid"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "hybrid-llm[llamaindex]"' in run.stderr.splitlines()[-1]


def hard_if_even(text: str) -> float:
    return 0.9 if int(text) % 2 == 0 else 0.1


def routed_right(llm: HybridLLM, number: int) -> bool:
    target = decision_of(llm.chat([ChatMessage(content=str(number))]))["target"]
    return target == ("large" if number % 2 == 0 else "small")


def test_threads_share_one_router_without_mixing_their_calls() -> None:
    llm = HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(), router=hard_if_even, quality=0.5)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: routed_right(llm, number), range(400)))


async def test_tasks_share_one_router_without_mixing_their_calls() -> None:
    llm = HybridLLM(small=ScriptedLLM(), large=ScriptedLLM(), router=hard_if_even, quality=0.5)

    async def one(number: int) -> bool:
        with query(str(number)):
            response = await llm.achat([ChatMessage(content="anything")])
        return decision_of(response)["target"] == ("large" if number % 2 == 0 else "small")

    assert all(await asyncio.gather(*map(one, range(100))))


async def test_a_slow_scorer_does_not_hold_the_event_loop(pair: Any) -> None:
    released = threading.Event()

    def slow(text: str) -> float:
        # goes on only when the loop has had its turn
        assert released.wait(5)
        return 1.0

    pair.llm.router = slow
    call = asyncio.create_task(pair.llm.achat([ChatMessage(content="easy")]))
    await asyncio.sleep(0.01)
    released.set()
    assert decision_of(await call)["reason"] == "score"


async def test_a_cancelled_call_is_cancelled(pair: Any) -> None:
    started = asyncio.Event()

    class Waiting(ScriptedLLM):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            started.set()
            await asyncio.sleep(60)

    pair.llm.large = Waiting()
    call = asyncio.create_task(pair.llm.achat([ChatMessage(content="hard")]))
    await started.wait()
    call.cancel()
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)

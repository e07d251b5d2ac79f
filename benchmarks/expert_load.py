"""Expert Router under load: ``python -m benchmarks.expert_load [--host langchain|llamaindex] [--threads]``.

1, 10, 100 and 1,000 users come within two seconds, and each asks its next question when the last one is answered,
through ``ExpertChatModel`` or ``ExpertLLM`` over doubles that answer after log-normal service times. The experts have
32 slots each; 55 % of the questions are the first one's, so that it is the bottleneck unless calls spill. Clusters are
fitted on the questions' words, as for real.

Printed per number of users, with and without spill: throughput; end-to-end percentiles; seconds in queues; and what the
router adds, apart: end to end less service less queue, which includes the host's own run and callbacks and the waits of
a busy event loop, and the choice alone. Every answer is checked: none may be lost, none may be another question's or
from another expert than its decision says.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback
from pydantic import Field
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from langchain_hybrid.expert_chat_model import ExpertChatModel
from llamaindex_hybrid.expert_llm import ExpertLLM
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.experts.router import ExpertRouter, RankedExperts
from shared_router.experts.slots import ExpertSlots
from shared_router.training.expert_clusters import fit_clusters

WORDS: Mapping[str, str] = {
    "code": "python rust compile debug function pointer loop class module thread",
    "maths": "integral theorem equation matrix prime vector proof sum limit series",
    "prose": "poem letter story novel verse chapter rhyme speech essay tale",
    "travel": "train hotel island museum ticket beach castle flight ferry road",
}
"""What each expert is asked about."""

TRAFFIC = (0.55, 0.15, 0.15, 0.15)

SERVICE: Mapping[str, tuple[float, float]] = {
    "code": (0.35, 0.6),
    "maths": (0.50, 0.8),
    "prose": (0.25, 0.5),
    "travel": (0.20, 0.4),
}
"""Median seconds of each expert's service time, and the deviation of its logarithm."""

SLOTS = 32
USERS = (1, 10, 100, 1000)
CALLS = 3000
"""In all, at most; fewer users than a hundred ask thirty each, one asks fifty."""

ARRIVAL = 2.0
"""Seconds within which the users come."""

SPILL_AFTER = 0.25


@dataclass(slots=True)
class Service:
    """An expert's service times, and what it has been asked."""

    name: str
    median: float
    deviation: float
    scale: float = 1.0
    seed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} {self.name}")

    def begin(self, prompt: str) -> float:
        """How long this answer takes."""
        number = prompt.rsplit("#", 1)[1]
        seconds = self.scale * self.median * float(np.exp(self.deviation * self._random.gauss(0.0, 1.0)))
        if number in self.seconds:
            raise AssertionError(f"question {number} was asked twice")
        return seconds

    def answer(self, prompt: str, begun: float) -> str:
        """The answer, by which its question and its expert are known."""
        number = prompt.rsplit("#", 1)[1]
        # as it came about: a busy loop wakes sleepers late, which is the model's time in any real service
        self.seconds[number] = time.perf_counter() - begun
        return f"{self.name} answers #{number}"


class TimedChatModel(BaseChatModel):
    """A LangChain double with a service time."""

    service: Any = Field(exclude=True, repr=False)

    @property
    def _llm_type(self) -> str:
        return "timed"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        begun, prompt = time.perf_counter(), str(messages[-1].text)
        time.sleep(self.service.begin(prompt))
        return self._result(prompt, begun)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        begun, prompt = time.perf_counter(), str(messages[-1].text)
        await asyncio.sleep(self.service.begin(prompt))
        return self._result(prompt, begun)

    def _result(self, prompt: str, begun: float) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.service.answer(prompt, begun)))])


class TimedLLM(ScriptedLLM):
    """A LlamaIndex double with a service time."""

    _service: Service = PrivateAttr()

    def __init__(self, service: Service, **kwargs: Any) -> None:
        super().__init__(model=service.name, **kwargs)
        self._service = service

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """An answer after a while."""
        begun, prompt = time.perf_counter(), str(messages[-1].content)
        time.sleep(self._service.begin(prompt))
        return ChatResponse(message=ChatMessage(role="assistant", content=self._service.answer(prompt, begun)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """An answer after a while."""
        begun, prompt = time.perf_counter(), str(messages[-1].content)
        await asyncio.sleep(self._service.begin(prompt))
        return ChatResponse(message=ChatMessage(role="assistant", content=self._service.answer(prompt, begun)))


@dataclass(frozen=True, slots=True)
class Timed:
    """A router that notes how long each choice takes; the rest is the router's own."""

    inner: ExpertRouter
    seconds: list[float] = field(default_factory=list)

    @property
    def router_id(self) -> str:
        """The router's."""
        return self.inner.router_id

    @property
    def experts(self) -> tuple[str, ...]:
        """The router's."""
        return self.inner.experts

    def rank(self, texts: Sequence[str], /) -> list[RankedExperts]:
        """The router's, timed."""
        begun = time.perf_counter()
        found = self.inner.rank(texts)
        self.seconds.append((time.perf_counter() - begun) / max(len(texts), 1))
        return found


@dataclass(frozen=True, slots=True)
class Answered:
    """One question from end to end.

    Attributes:
        number: Of the question.
        text: The answer.
        record: The decision.
        seconds: From asking to the answer.
    """

    number: str
    text: str
    record: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run.

    Attributes:
        asked: Questions.
        wall: Seconds for all of them.
        total: Seconds of each from end to end, shape (n,).
        queued: Seconds of each in a queue, shape (n,).
        added: Seconds of each that were neither service nor queue, shape (n,).
        choice: Seconds of each choice alone.
        spilled: Share of the questions that another expert than the preferred one answered.
        cpu: Seconds of this process' CPU time a question, the host's and the double's included.
    """

    asked: int
    wall: float
    total: Any
    queued: Any
    added: Any
    choice: Any
    spilled: float
    cpu: float


def question(number: int, source: random.Random) -> str:
    """A question with words of one expert, and a number by which its answer is known."""
    (topic,) = source.choices(list(WORDS), TRAFFIC)
    return f"{' '.join(source.choices(WORDS[topic].split(), k=8))} #{number}"


def fitted_router(seed: int = 0) -> ExpertRouter:
    """Clusters of such questions, each with the expert whose words it has; the quickest others come next."""
    source = random.Random(seed)
    texts = [f"{' '.join(source.choices(words.split(), k=8))}" for words in WORDS.values() for _ in range(200)]
    clusters = fit_clusters(texts, len(WORDS), dimensions=32, seed=seed)
    own = [list(WORDS)[row // 200] for row in range(len(texts))]
    assigned = clusters.assign(texts).cluster.tolist()
    quick = sorted(SERVICE, key=lambda name: SERVICE[name])
    experts = {}
    for cluster in range(len(WORDS)):
        (first, _), *_ = Counter(
            name for name, other in zip(own, assigned, strict=True) if other == cluster
        ).most_common(1)
        experts[cluster] = [first, *(name for name in quick if name != first)]
    return ExpertRouter.from_map(clusters, experts, otherwise=quick)


def made_model(host: str, router: Any, services: Mapping[str, Service], slots: ExpertSlots) -> Any:
    """The router of either plug-in over doubles with these services."""
    if host == "langchain":
        chat = {name: TimedChatModel(service=service) for name, service in services.items()}
        return ExpertChatModel(experts=chat, router=router, limits=slots)
    llms = {name: TimedLLM(service) for name, service in services.items()}
    return ExpertLLM(experts=llms, router=router, limits=slots)


def answered(host: str, model: Any, text: str) -> Answered:
    """Ask in this thread."""
    begun = time.perf_counter()
    response = model.invoke(text) if host == "langchain" else model.chat([ChatMessage(content=text)])
    return _answered(host, text, response, time.perf_counter() - begun)


async def aanswered(host: str, model: Any, text: str) -> Answered:
    """Ask in this event loop."""
    begun = time.perf_counter()
    response = await (model.ainvoke(text) if host == "langchain" else model.achat([ChatMessage(content=text)]))
    return _answered(host, text, response, time.perf_counter() - begun)


def _answered(host: str, text: str, response: Any, seconds: float) -> Answered:
    number = text.rsplit("#", 1)[1]
    if host == "langchain":
        return Answered(number, response.text, response.response_metadata["hybrid"], seconds)
    return Answered(number, response.message.content, response.additional_kwargs["hybrid"], seconds)


def run_load(
    host: str,
    users: int,
    calls: int,
    *,
    router: ExpertRouter,
    slots: ExpertSlots,
    threads: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> Load:
    """Put a load on a model, and check every answer.

    Args:
        host: "langchain" or "llamaindex".
        users: Who ask at once, each one question after the other.
        calls: Questions in all.
        router: The router.
        slots: Limits and queues.
        threads: Users are threads, and not tasks of one event loop.
        scale: Of the service times.
        seed: Of questions and service times.

    Raises:
        AssertionError: An answer was lost, or is another question's or another expert's.
    """
    source = random.Random(seed)
    texts = [question(number, source) for number in range(calls)]
    services = {name: Service(name, *about, scale=scale, seed=seed) for name, about in SERVICE.items()}
    timed = Timed(router)
    model = made_model(host, timed, services, slots)
    waiting = iter(texts)
    arrivals = [scale * ARRIVAL * user / users for user in range(users)]
    found: list[Answered] = []

    # a list's iterator hands out each item once, to whichever thread or task asks
    def user(after: float) -> None:
        time.sleep(after)
        for text in waiting:
            found.append(answered(host, model, text))

    async def auser(after: float) -> None:
        await asyncio.sleep(after)
        for text in waiting:
            found.append(await aanswered(host, model, text))

    async def all_users() -> None:
        await asyncio.gather(*map(auser, arrivals))

    begun, cpu = time.perf_counter(), time.process_time()
    if threads:
        with ThreadPoolExecutor(users) as pool:
            for done in [pool.submit(user, after) for after in arrivals]:
                done.result()
    else:
        asyncio.run(all_users())
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    check(found, calls, services, slots)
    total = np.array([one.seconds for one in found])
    queued = np.array([one.record["waited"] for one in found])
    served = np.array([services[one.record["expert"]].seconds[one.number] for one in found])
    spilled = sum(one.record["reason"] == "spill" for one in found) / calls
    return Load(calls, wall, total, queued, total - queued - served, np.array(timed.seconds), spilled, cpu / calls)


def direct_cpu(host: str, calls: int = 300) -> float:
    """Seconds of CPU time a question that goes to a double without a router."""
    service = Service("direct", 1e-6, 0.0)
    model = TimedChatModel(service=service) if host == "langchain" else TimedLLM(service)

    async def ask(number: int) -> None:
        text = f"anything #{number}"
        await (model.ainvoke(text) if isinstance(model, TimedChatModel) else model.achat([ChatMessage(content=text)]))

    async def ask_all() -> None:
        for number in range(calls):
            await ask(number)

    begun = time.process_time()
    asyncio.run(ask_all())
    return (time.process_time() - begun) / calls


def check(found: Sequence[Answered], calls: int, services: Mapping[str, Service], slots: ExpertSlots) -> None:
    """Every question has its own answer, once, from the expert that its decision names, and all slots are back.

    Raises:
        AssertionError: Not so.
    """
    numbers = Counter(one.number for one in found)
    lost = [number for number in map(str, range(calls)) if numbers[number] != 1]
    crossed = [one for one in found if one.text != f"{one.record['expert']} answers #{one.number}"]
    if lost or crossed:
        raise AssertionError(f"{len(lost)} answers lost or given twice, {len(crossed)} crossed")
    if sum(len(service.seconds) for service in services.values()) != calls:
        raise AssertionError("an expert was asked what nobody had asked")
    held = {name: load for name, load in slots.load().items() if load.in_use or load.waiting}
    if held:
        raise AssertionError(f"slots were not given back: {held}")


def _milliseconds(values: Any, *percentiles: float) -> str:
    return " / ".join(f"{1e3 * value:.2f}" for value in np.percentile(values, percentiles))


def _seconds(values: Any, *percentiles: float) -> str:
    return " / ".join(f"{value:.2f}" for value in np.percentile(values, percentiles))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", choices=("langchain", "llamaindex"), default="langchain")
    parser.add_argument("--threads", action="store_true", help="users are threads, and not tasks of one event loop")
    parser.add_argument("--users", type=int, nargs="+", default=USERS)
    arguments = parser.parse_args()
    router = fitted_router()
    table = Table(
        "users", "spill", "calls", "calls/s", "end to end p50 / p95 / p99, s", "queue p50 / p99, s", "spilled",
        "added p50 / p99, ms", "choice alone p50 / p99, ms", "CPU a call, ms", box=MARKDOWN,
    )  # fmt: skip
    run_load(arguments.host, 1, 20, router=router, slots=ExpertSlots(SLOTS), scale=0.01)  # warms imports and caches
    for users, spills in itertools.product(arguments.users, (False, True)):
        slots = ExpertSlots(SLOTS, queue=None, time_limit=None, spill_after=SPILL_AFTER if spills else None)
        calls = min(CALLS, 30 * users) if users > 1 else 50
        load = run_load(arguments.host, users, calls, router=router, slots=slots, threads=arguments.threads)
        table.add_row(
            f"{users:,}",
            "yes" if spills else "no",
            f"{load.asked:,}",
            f"{load.asked / load.wall:.1f}",
            _seconds(load.total, 50, 95, 99),
            _seconds(load.queued, 50, 99),
            f"{load.spilled:.0%}",
            _milliseconds(load.added, 50, 99),
            _milliseconds(load.choice, 50, 99),
            f"{1e3 * load.cpu:.2f}",
        )
    Console(width=220).print(table)
    print(f"Without a router a call takes {1e3 * direct_cpu(arguments.host):.2f} ms of CPU time.")
    print("No answer was lost, given twice or crossed; all slots came back.")


if __name__ == "__main__":
    main()

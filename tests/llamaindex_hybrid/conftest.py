import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.callbacks import CallbackManager
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler

from llamaindex_hybrid import HybridLLM, HybridRoutingEvent
from llamaindex_hybrid.events import ExpertRoutingEvent
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.router import Router
from shared_router.testing import TableDifficulty, linear_curve


@dataclass
class Pair:
    """A router over two scripted models; texts in ``hard`` go to the large one."""

    small: ScriptedLLM = field(default_factory=lambda: ScriptedLLM(model="small"))
    large: ScriptedLLM = field(default_factory=lambda: ScriptedLLM(model="large"))
    hard: tuple[str, ...] = ("hard",)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.difficulty = TableDifficulty(dict.fromkeys(self.hard, 0.9), otherwise=0.1)
        router = Router(self.difficulty, curve=linear_curve(), router_id="table")
        self.llm = HybridLLM(**{"quality": 0.5, **self.settings}, small=self.small, large=self.large, router=router)

    @property
    def asked(self) -> list[str]:
        return [text for texts in self.difficulty.asked for text in texts]


@pytest.fixture
def pair() -> Pair:
    return Pair()


class Recorder(BaseEventHandler):
    events: list[BaseEvent]

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)

    @property
    def routed(self) -> list[HybridRoutingEvent]:
        return [event for event in self.events if isinstance(event, HybridRoutingEvent)]

    @property
    def given(self) -> list[ExpertRoutingEvent]:
        return [event for event in self.events if isinstance(event, ExpertRoutingEvent)]

    def named(self, name: str) -> list[BaseEvent]:
        return [event for event in self.events if event.class_name() == name]


@pytest.fixture
def events() -> Iterator[Recorder]:
    root = get_dispatcher()
    recorder = Recorder(events=[])
    before = root.event_handlers
    root.event_handlers = [*before, recorder]
    yield recorder
    root.event_handlers = before


@pytest.fixture(autouse=True)
def clean_settings() -> Iterator[None]:
    yield
    Settings._llm = None
    Settings._embed_model = None
    Settings._callback_manager = None
    Settings._prompt_helper = None


@pytest.fixture(autouse=True)
def no_global_trace() -> Iterator[None]:
    # managers built without handlers take over those of the global manager
    assert CallbackManager([]).handlers == []
    yield


class Answer(BaseModel):
    """An answer."""

    text: str


@pytest.fixture
def answer() -> SimpleNamespace:
    """An output class, and the tool call with which a model fills it."""
    return SimpleNamespace(cls=Answer, call=ToolCallBlock(tool_name="Answer", tool_kwargs={"text": "yes"}))


@pytest.fixture(autouse=True)
def loop_of_the_main_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    # core's asyncio_run lets asyncio make a loop for the main thread, and nobody closes that one
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()

"""The trace: one chain run, the chosen model's run below it, everything counted once and everything closed."""

from __future__ import annotations

import asyncio
import gc
import uuid
import warnings
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, CallbackManager, UsageMetadataCallbackHandler
from langchain_core.callbacks.usage import get_usage_metadata_callback
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_hybrid import DECISION_EVENT, decision_of

STREAMING = ("stream", "astream", "transform", "atransform", "astream_events_v1", "astream_events_v2")
"""The ways in which core tells tokens to version 1 handlers; a scripted answer has four and a last, empty one."""


class TestTrace:
    async def test_the_models_run_is_the_child_of_the_routers(self, pair: Any, ask: Any) -> None:
        answer = await ask(pair.model(), "hard", {"callbacks": [pair.recorder], "tags": ["t"], "metadata": {"m": 1}})

        router, model = pair.recorder.runs
        assert (router.kind, router.name, router.parent) == ("chain", "HybridChatModel", None)
        assert (model.kind, model.parent) == ("chat_model", router.run_id)
        assert router.inputs["messages"][0].text == "hard"
        assert {"t", "hybrid:large"} <= set(model.tags)
        assert "hybrid:large" not in router.tags
        assert model.metadata["m"] == router.metadata["m"] == 1
        assert model.metadata["hybrid"] == router.outputs["hybrid"] == decision_of(answer)
        assert model.metadata["ls_model_name"] == "grand-1"
        assert decision_of(router.outputs["output"] if "generate" not in ask.__name__ else answer) is not None
        assert [run.ends for run in (router, model)] == [1, 1]
        assert answer.id.startswith(f"lc_run--{model.run_id}")

    async def test_the_decision_is_announced(self, pair: Any, ask: Any) -> None:
        answer = await ask(pair.model(), "hard", {"callbacks": [pair.recorder]})
        assert pair.recorder.events == [(DECISION_EVENT, decision_of(answer))]

    async def test_events_of_version_2_hold_the_announcement(self, pair: Any) -> None:
        events = [event async for event in pair.model().astream_events("hard", version="v2")]
        (announced,) = [event for event in events if event["event"] == "on_custom_event"]
        assert (announced["name"], announced["data"]["target"]) == (DECISION_EVENT, "large")
        assert announced["run_id"] == events[0]["run_id"]
        names = [event["event"] for event in events]
        assert (names[0], names[-1]) == ("on_chain_start", "on_chain_end")
        assert names.count("on_chat_model_start") == names.count("on_chat_model_end") == 1
        assert names.count("on_chat_model_stream") == 5

    async def test_tokens_are_counted_once(self, pair: Any, ask: Any) -> None:
        with get_usage_metadata_callback() as counted:
            handler = UsageMetadataCallbackHandler()
            answer = await ask(pair.model(callbacks=[handler]), "hard")
        assert set(counted.usage_metadata) == {"grand-1"}
        totals = answer.usage_metadata["total_tokens"]
        assert counted.usage_metadata["grand-1"]["total_tokens"] == totals
        assert handler.usage_metadata["grand-1"]["total_tokens"] == totals

    async def test_every_token_is_told_once(self, pair: Any, ask: Any) -> None:
        await ask(pair.model(), "easy", {"callbacks": [pair.recorder]})
        assert sum(run.tokens for run in pair.recorder.runs) == (5 if ask.__name__ in STREAMING else 0)

    async def test_an_error_closes_both(self, pair: Any, ask: Any) -> None:
        failure = ConnectionError("gone")
        pair.small.answers = (failure,)
        with pytest.raises(ConnectionError):
            await ask(pair.model(), "easy", {"callbacks": [pair.recorder]})
        assert [(run.ends, run.error) for run in pair.recorder.runs] == [(1, failure)] * 2

    async def test_what_is_set_on_the_router_is_inherited(self, pair: Any, ask: Any) -> None:
        model = pair.model(callbacks=[pair.recorder], tags=["nostream"], metadata={"team": "a"})
        await ask(model, "easy", {"callbacks": [pair.recorder], "tags": ["t"]})
        router, leaf = pair.recorder.runs
        assert {"nostream", "t"} <= set(router.tags) & set(leaf.tags)
        assert router.metadata["team"] == leaf.metadata["team"] == "a"

    async def test_a_manager_on_the_router_is_inherited(self, pair: Any, ask: Any) -> None:
        await ask(pair.model(callbacks=CallbackManager([pair.recorder])), "easy")
        assert [run.kind for run in pair.recorder.runs] == ["chain", "chat_model"]

    async def test_run_name_and_id_are_the_routers(self, pair: Any, ask: Any) -> None:
        run_id = uuid.uuid4()
        await ask(pair.model(), "easy", {"callbacks": [pair.recorder], "run_name": "answer", "run_id": run_id})
        router, leaf = pair.recorder.runs
        assert (router.name, router.run_id) == ("answer", run_id)
        assert leaf.name != "answer"
        assert leaf.run_id != run_id

    async def test_it_nests_under_the_run_that_calls_it(self, pair: Any, ask: Any) -> None:
        async def inside(prompt: str, config: RunnableConfig) -> Any:
            return await ask(pair.model(), prompt, {"callbacks": config["callbacks"]})

        await RunnableLambda(inside).ainvoke("easy", {"callbacks": [pair.recorder]})
        outer, router, leaf = pair.recorder.runs
        assert (router.parent, leaf.parent) == (outer.run_id, router.run_id)

    def test_it_finds_the_run_that_calls_it_by_itself(self, pair: Any) -> None:
        chain = RunnableLambda(lambda prompt: pair.model().invoke(prompt))
        chain.invoke("easy", {"callbacks": [pair.recorder]})
        outer, router, leaf = pair.recorder.runs
        assert (router.parent, leaf.parent) == (outer.run_id, router.run_id)

    async def test_a_router_inside_the_router_nests(self, pair: Any, ask: Any) -> None:
        inner = pair.model(router=lambda text: 0.0, name="inner")
        await ask(pair.model(small=inner), "easy", {"callbacks": [pair.recorder]})
        outer, router, leaf = pair.recorder.runs
        assert (router.name, router.parent, leaf.parent) == ("inner", outer.run_id, router.run_id)
        assert [run.ends for run in pair.recorder.runs] == [1, 1, 1]
        assert outer.outputs["hybrid"]["model"] == "tiny-1|grand-1"

    async def test_a_wrong_knob_leaves_no_run_open(self, pair: Any, ask: Any) -> None:
        with pytest.raises(RuntimeError):
            await ask(pair.model(router=lambda text: 0.5), "easy", {"callbacks": [pair.recorder]}, max_drop=0.1)
        assert all(run.ends == 1 for run in pair.recorder.runs)
        assert not pair.called

    def test_verbose_is_about_the_routers_own_run(self, pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
        pair.model(verbose=True).invoke("easy")
        assert "HybridChatModel" in capsys.readouterr().out

    async def test_async_handlers(self, pair: Any, ask: Any) -> None:
        seen: list[str] = []

        class Handler(AsyncCallbackHandler):
            async def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
                seen.append("chain")

            async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
                seen.append("chat_model")

            async def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
                seen.append(name)

            async def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
                seen.append("end")

        await ask(pair.model(), "easy", {"callbacks": [Handler()]})
        assert seen == ["chain", DECISION_EVENT, "chat_model", "end"]


class TestStoppingEarly:
    def test_a_reader_that_stops_closes_both(self, pair: Any) -> None:
        chunks = pair.model().stream("easy", {"callbacks": [pair.recorder]})
        next(chunks)
        chunks.close()
        router, leaf = pair.recorder.runs
        assert (router.ends, leaf.ends) == (1, 1)
        assert router.error is None
        assert router.outputs["output"].content == "Here "
        assert isinstance(leaf.error, GeneratorExit)

    @pytest.mark.parametrize("tools", [False, True])
    async def test_an_async_one_too(self, pair: Any, tools: bool) -> None:
        model = pair.model()
        bound = model.bind_tools([]) if tools else model
        chunks = (bound.bound if tools else model).astream(
            "easy", {"callbacks": [pair.recorder]}, **(bound.kwargs if tools else {})
        )
        await anext(chunks)
        await chunks.aclose()
        router, leaf = pair.recorder.runs
        assert (router.ends, leaf.ends) == (1, 1)
        assert router.error is None

    def test_a_forgotten_stream_closes_both(self, pair: Any) -> None:
        chunks = pair.model().stream("easy", {"callbacks": [pair.recorder]})
        next(chunks)
        del chunks
        gc.collect()
        assert [run.ends for run in pair.recorder.runs] == [1, 1]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
class TestVersion3:
    def test_a_stream_that_nobody_reads_opens_no_run(self, pair: Any) -> None:
        pair.model().stream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        assert not pair.recorder.runs
        assert not pair.called

    def test_text_comes_piece_by_piece(self, pair: Any) -> None:
        stream = pair.model().stream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        assert list(stream.text) == ["Here ", "is ", "an ", "answer."]
        assert decision_of(stream.output)["target"] == "small"
        assert [run.ends for run in pair.recorder.runs] == [1, 1]

    async def test_the_message_is_marked_before_a_reader_gets_it(self, pair: Any) -> None:
        class Slow(AsyncCallbackHandler):
            async def on_stream_event(self, *args: Any, **kwargs: Any) -> None:
                await asyncio.sleep(0.001)

        stream = await pair.model().astream_events("easy", {"callbacks": [Slow()]}, version="v3")
        assert decision_of(await stream.output)["target"] == "small"

    async def test_closing_it_closes_both(self, pair: Any) -> None:
        pair.small.delay = 10.0
        stream = await pair.model().astream_events("easy", {"callbacks": [pair.recorder]}, version="v3")
        await stream.aclose()
        assert [run.ends for run in pair.recorder.runs] == [1, 1]

    async def test_tools_are_there_too(self, pair: Any) -> None:
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        bound = pair.model().bind_tools([add])
        sync_stream = bound.stream_events("easy", version="v3")
        async_stream = await bound.astream_events("easy", version="v3")
        assert sync_stream.output.tool_calls[0]["name"] == (await async_stream).tool_calls[0]["name"] == "add"

    def test_a_schema_is_refused_as_core_refuses_it(self, pair: Any) -> None:
        schema = {"title": "Joke", "description": "A joke.", "type": "object", "properties": {}}
        with pytest.raises(NotImplementedError):
            pair.model().with_structured_output(schema).stream_events("easy", version="v3")


async def test_the_log_of_a_run(pair: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # core marks astream_log as deprecated
        patches = [patch async for patch in pair.model().astream_log("easy")]
    log = sum_of(patches).state
    assert decision_of(log["final_output"])["target"] == "small"
    assert list(log["logs"]) == ["ScriptedChatModel"]


def sum_of(parts: list[Any]) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole

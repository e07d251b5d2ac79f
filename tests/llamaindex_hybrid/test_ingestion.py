"""Core's own extractors over doubles, under a budget."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.extractors import (
    KeywordExtractor,
    PydanticProgramExtractor,
    QuestionsAnsweredExtractor,
    SummaryExtractor,
    TitleExtractor,
)
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.schema import Document, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode

from llamaindex_hybrid.ingestion import BudgetedExtractor
from llamaindex_hybrid.llm import HybridLLM
from llamaindex_hybrid.question import query
from llamaindex_hybrid.testing import ScriptedLLM
from shared_router.budget import Budget
from shared_router.errors import HybridError, KnobError
from shared_router.limits import ShareLimit

DIFFICULTY = {"alpha": 0.1, "bravo": 0.9, "charlie": 0.5, "delta": 0.7, "echo": 0.3}


def difficulty(text: str) -> float:
    found = [value for name, value in DIFFICULTY.items() if name in text]
    return max(found, default=0.0)


def nodes(*texts: str, document: str | None = None) -> list[TextNode]:
    made = [TextNode(text=text, id_=f"{document}-{text}") for text in texts or DIFFICULTY]
    for node in made:
        if document is not None:
            node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


class Twins:
    """A small and a large model, each of which says who it is."""

    def __init__(self, **settings: Any) -> None:
        self.small, self.large = ScriptedLLM(model="small"), ScriptedLLM(model="large")
        settings = {"router": difficulty, "quality": 0.5, **settings}
        self.llm = HybridLLM(small=self.small, large=self.large, **settings)

    def asked(self) -> tuple[int, int]:
        return len(self.small.received), len(self.large.received)


@pytest.fixture
def twins() -> Twins:
    return Twins()


def quiet(kind: Any, twins: Twins, **settings: Any) -> Any:
    return kind(llm=twins.llm, show_progress=False, **settings)


def said(found: Any, key: str) -> list[str]:
    return [node.metadata[key].split()[0] for node in found]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (SummaryExtractor, "section_summary"),
        (KeywordExtractor, "excerpt_keywords"),
        (QuestionsAnsweredExtractor, "questions_this_excerpt_can_answer"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_the_most_difficult_nodes_go_to_the_large_model(twins: Twins, kind: Any, key: str, is_async: bool) -> None:
    extractor = BudgetedExtractor(quiet(kind, twins), 0.4)
    given = nodes()
    found = asyncio.run(extractor.acall(given)) if is_async else extractor(given)
    assert said(found, key) == ["small", "large", "small", "large", "small"]
    assert twins.asked() == (3, 2)
    assert found == given


async def test_it_works_inside_a_running_loop(twins: Twins) -> None:
    found = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.2)(nodes())
    assert said(found, "section_summary").count("large") == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_in_a_pipeline(twins: Twins, is_async: bool) -> None:
    documents = [Document(text=f"{name} is a word.") for name in DIFFICULTY]
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), BudgetedExtractor(quiet(SummaryExtractor, twins), 0.4)]
    )
    found = asyncio.run(pipeline.arun(documents=documents)) if is_async else pipeline.run(documents=documents)
    assert said(found, "section_summary") == ["small", "large", "small", "large", "small"]
    # the second run is the cache's
    pipeline.run(documents=documents)
    assert twins.asked() == (3, 2)


def test_a_document_has_one_model_for_its_titles(twins: Twins) -> None:
    first, second = nodes("alpha", "echo", document="easy"), nodes("bravo", "alpha", document="hard")
    given = [first[0], second[0], first[1], second[1]]
    found = BudgetedExtractor(quiet(TitleExtractor, twins), 0.5)(given)
    assert said(found, "document_title") == ["small", "large", "small", "large"]
    # two titles of parts and the one that is made of them
    assert twins.asked() == (3, 3)


def test_titles_read_as_many_nodes_as_they_say(twins: Twins) -> None:
    extractor = BudgetedExtractor(quiet(TitleExtractor, twins, nodes=1), 0.5)
    given = [*nodes("alpha", "bravo", document="a"), *nodes("charlie", document="b")]
    assert [one.target for one in extractor.decisions(given)] == ["small", "small", "large"]
    extractor(given)
    assert twins.asked() == (2, 2)


def test_summaries_of_neighbours_are_shared_within_a_document(twins: Twins) -> None:
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins, summaries=["self", "prev", "next"]), 0.6)
    found = extractor([*nodes("alpha", "echo", document="a"), *nodes("bravo", "delta", "charlie", document="b")])
    assert said(found, "section_summary") == ["small"] * 2 + ["large"] * 3
    assert [sorted(node.metadata) for node in found] == [
        ["next_section_summary", "section_summary"],
        ["prev_section_summary", "section_summary"],
        ["next_section_summary", "section_summary"],
        ["next_section_summary", "prev_section_summary", "section_summary"],
        ["prev_section_summary", "section_summary"],
    ]


def test_objects_by_a_program(twins: Twins, answer: Any) -> None:
    for model in (twins.small, twins.large):
        model.replies = [f'{{"text": "{model.model}"}}']
    program = LLMTextCompletionProgram.from_defaults(
        output_cls=answer.cls, prompt_template_str="{input}", llm=twins.llm
    )
    extractor = PydanticProgramExtractor(program=program, show_progress=False)
    with pytest.raises(HybridError, match="say llm="):
        BudgetedExtractor(extractor, 0.4)
    found = BudgetedExtractor(extractor, 0.4, llm=twins.llm)(nodes())
    assert said(found, "text") == ["small", "large", "small", "large", "small"]


def test_money(twins: Twins) -> None:
    # five calls of about 45 tokens in and 100 out: 0.0001 and 0.001 each, and some for the prompts
    budget = Budget(0.0025, small_price=(0.1, 1.0), large_price=(1.0, 10.0), output_tokens=100)
    found = BudgetedExtractor(quiet(SummaryExtractor, twins), budget)(nodes())
    assert said(found, "section_summary") == ["small", "large", "small", "large", "small"]
    with pytest.raises(KnobError, match="too small for 5 calls"):
        BudgetedExtractor(quiet(SummaryExtractor, twins), Budget(0.0001, (0.1, 1.0), (1.0, 10.0), 100))(nodes())
    assert twins.asked() == (3, 2)


def test_a_node_that_only_the_large_model_can_read_goes_there_and_counts() -> None:
    twins = Twins(small_capabilities={"context_window": 300}, large_capabilities={"context_window": 100_000})
    given = nodes("alpha " * 400, "bravo", "charlie", "delta")
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.5)
    assert [one.reason for one in extractor.decisions(given)] == ["context_window", "budget", "budget", "budget"]
    assert said(extractor(given), "section_summary") == ["large", "large", "small", "small"]
    with pytest.raises(KnobError, match="allows 0 calls"):
        BudgetedExtractor(quiet(SummaryExtractor, twins), 0.0)(given)


def test_decisions_ask_no_model_and_tell_difficulties(twins: Twins) -> None:
    found = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.2).decisions(nodes())
    assert [one.difficulty for one in found] == list(DIFFICULTY.values())
    assert [one.target for one in found] == ["small", "large", "small", "small", "small"]
    assert twins.asked() == (0, 0)


def test_the_block_around_holds_again_afterwards(twins: Twins) -> None:
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.2)
    with query(conversation="c"):
        extractor(nodes())
    twins.llm.complete("bravo")
    assert len(twins.large.received) == 2


def test_a_forced_model_is_a_guard(twins: Twins) -> None:
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.2)
    with query(route="small"):
        assert said(extractor(nodes()), "section_summary") == ["small"] * 5
    with query(route="large"), pytest.raises(KnobError, match="allows 1 calls"):
        extractor(nodes())


def test_a_limit_counts_each_call_once() -> None:
    limit = ShareLimit(0.1)
    twins = Twins(limit=limit)
    BudgetedExtractor(quiet(SummaryExtractor, twins), 0.4)(nodes())
    assert limit.realised == pytest.approx(0.4)


def test_copies_and_templates_are_the_extractors_own_business(twins: Twins) -> None:
    given = nodes()
    found = BudgetedExtractor(quiet(SummaryExtractor, twins, in_place=False), 0.4)(
        given, excluded_llm_metadata_keys=["section_summary"]
    )
    assert not given[0].metadata
    assert said(found, "section_summary")[1] == "large"
    assert "section_summary" not in found[0].get_content(metadata_mode=MetadataMode.LLM)


def test_errors_and_retries_are_the_extractors_own_business(twins: Twins) -> None:
    twins.large.replies = [OSError("down"), "back"]
    extractor = quiet(SummaryExtractor, twins, max_retries=1, retry_backoff=0.0)
    found = BudgetedExtractor(extractor, 0.2)(nodes())
    assert found[1].metadata["section_summary"] == "back"
    twins.large.replies = [OSError("down")]
    with pytest.raises(OSError, match="down"):
        BudgetedExtractor(quiet(SummaryExtractor, twins), 0.2)(nodes())


def test_after_a_failure_nothing_more_is_begun(twins: Twins) -> None:
    twins.small.replies = [OSError("down")]
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins, num_workers=2), 0.0)
    with pytest.raises(OSError, match="down"):
        extractor(nodes(*(f"text {number}" for number in range(50))))
    assert len(twins.small.received) <= 4


def test_a_cascade_has_no_budget_beforehand() -> None:
    extractor = BudgetedExtractor(quiet(SummaryExtractor, Twins(policy="cascade", quality=None, large_share=0.5)), 0.5)
    with pytest.raises(KnobError, match='policy="route"'):
        extractor(nodes())


def test_what_does_not_fit_is_refused(twins: Twins) -> None:
    extractor = quiet(SummaryExtractor, twins)
    with pytest.raises(KnobError, match="from 0 to 1"):
        BudgetedExtractor(extractor, 3)
    with pytest.raises(HybridError, match="by is"):
        BudgetedExtractor(extractor, 0.5, by="page")  # type: ignore[arg-type]
    with pytest.raises(HybridError, match="HybridLLM"):
        BudgetedExtractor(SummaryExtractor(llm=twins.small), 0.5)


def test_it_is_saved_without_keys_and_an_empty_list_is_fine(twins: Twins) -> None:
    extractor = BudgetedExtractor(quiet(SummaryExtractor, twins), 0.5)
    assert extractor.to_dict()["class_name"] == "BudgetedExtractor"
    assert "llm" not in extractor.to_dict()
    assert extractor([]) == []
    assert extractor.decisions([]) == []

import io
from collections.abc import Callable
from types import ModuleType

import pytest
from demo.ask import Answer, answers, through_langchain, through_llamaindex
from demo.questions import QUESTIONS
from demo.report import header, row, summary, summary_table
from langchain_core.language_models import FakeListChatModel
from llama_index.core.llms import MockLLM
from rich.console import Console

from langchain_hybrid import HybridChatModel
from llamaindex_hybrid import HybridLLM
from shared_router import Knob
from shared_router.knob import DEFAULT_KNOB
from shared_router.testing import table_router

Load = Callable[[str], ModuleType]
HARD, EASY = QUESTIONS[2], QUESTIONS[0]
ROUTER = table_router({HARD: 0.9}, otherwise=0.1)


def answer(target: str = "small", *, seconds: float = 1.0, tokens: int = 10, text: str = "an answer") -> Answer:
    return Answer("a question?", "LangChain", text, target, f"{target}-model", 0.5, 0.4, seconds, tokens)


def printed(*renderables: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    for renderable in renderables:
        console.print(renderable)
    return console.export_text()


@pytest.fixture
def ways() -> tuple:
    chat = HybridChatModel(
        small=FakeListChatModel(responses=["small says\nmore"]),
        large=FakeListChatModel(responses=["large says"]),
        router=ROUTER,
        quality=0.5,
    )
    llm = HybridLLM(small=MockLLM(max_tokens=5), large=MockLLM(max_tokens=5), router=ROUTER, quality=0.5)
    return through_langchain(chat), through_llamaindex(llm)


def test_each_framework_answers_with_its_decision(ways: tuple) -> None:
    for ask, framework in zip(ways, ("LangChain", "LlamaIndex"), strict=True):
        easy, hard = ask(EASY), ask(HARD)
        assert (easy.framework, easy.target, easy.difficulty, easy.threshold) == (framework, "small", 0.1, 0.5)
        assert (hard.framework, hard.target, hard.difficulty, hard.threshold) == (framework, "large", 0.9, 0.5)
        assert easy.text and easy.seconds >= 0.0 and easy.tokens == 0


def test_the_frameworks_take_turns(ways: tuple) -> None:
    asked = list(answers(QUESTIONS[:5], ways))
    assert [one.question for one in asked] == list(QUESTIONS[:5])
    assert [one.framework for one in asked] == ["LangChain", "LlamaIndex", "LangChain", "LlamaIndex", "LangChain"]


def test_the_questions_are_different_and_both_frameworks_get_many() -> None:
    assert len(set(QUESTIONS)) == len(QUESTIONS)
    assert 12 <= len(QUESTIONS) <= 16 and len(QUESTIONS) % 2 == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [("", "(no answer)"), ("\n\n  hi \nthere", "hi"), ("```python\ndef f(): ...\n```", "def f(): ...")],
)
def test_the_first_line_is_the_first_that_says_something(text: str, line: str) -> None:
    assert answer(text=text).first_line == line


def test_the_summary_adds_up_and_estimates() -> None:
    summed = summary([answer(seconds=1.0, tokens=20), answer(seconds=2.0, tokens=20), answer("large", seconds=5.0)])
    assert (summed.small.calls, summed.large.calls) == (2, 1)
    assert summed.large_share == pytest.approx(1 / 3)
    assert summed.seconds == 8.0
    # 0.5 s a token of the large model, 50 tokens in all
    assert summed.seconds_if_all_large == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("done", "share"),
    [([], 0.0), ([answer()], 0.0), ([answer("large")], 1.0), ([answer(), answer("large", tokens=0)], 0.5)],
)
def test_where_there_is_nothing_to_compare_there_is_no_estimate(done: list[Answer], share: float) -> None:
    assert summary(done).seconds_if_all_large is None
    assert summary(done).large_share == share


@pytest.mark.parametrize("width", [80, 100, 200])
def test_header_and_rows_keep_to_the_width_and_to_two_lines_each(width: int) -> None:
    long = answer(text="very " * 100 + "[bold]long[/bold]")
    text = printed(header(width), row(long, width), width=width)
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(len(line.rstrip()) <= width for line in lines)


def test_a_row_shows_markup_of_an_answer_as_it_is() -> None:
    assert "list[int] [/red]" in printed(row(answer(text="list[int] [/red]"), 80))


def test_a_row_of_a_call_that_was_not_scored() -> None:
    forced = Answer("q", "LangChain", "a", "large", "m", None, None, 1.0, 1)
    assert "not scored" in printed(row(forced, 80))


def test_the_summary_table_names_both_models_and_the_estimate() -> None:
    text = printed(summary_table(summary([answer(), answer("large")]), "tiny", "big"))
    assert "tiny" in text and "big" in text and "50%" in text and "estimate" in text
    assert "estimate" not in printed(summary_table(summary([answer()]), "tiny", "big"))


def test_the_demo_prints_a_row_a_question_without_a_terminal(example: Load, ways: tuple) -> None:
    demo = example("01_demo")
    console = Console(file=io.StringIO(), width=80, record=True)
    demo.show(QUESTIONS, ways, "tiny", "big", Knob("quality", 0.5), console)
    text = console.export_text()
    assert all(question[:30] in text for question in QUESTIONS)
    assert text.count("LlamaIndex") == text.count("LangChain") == len(QUESTIONS) // 2
    assert "instead of about" not in text and "Who answered" in text  # doubles count no tokens


def test_the_time_saved_says_how_it_is_known(example: Load) -> None:
    demo = example("01_demo")
    said = demo.time_saved(summary([answer(seconds=3.0, tokens=40), answer("large", seconds=5.0, tokens=10)]))
    assert "8 s instead of about 25 s" in said and "estimated" in said
    assert "nothing to compare" in demo.time_saved(summary([answer()]))


def test_other_settings_count_the_same_questions(example: Load) -> None:
    counted = example("01_demo").other_settings(table_router({HARD: 0.9, EASY: 0.6}, otherwise=0.2), QUESTIONS)
    # on the doubles' curve, quality and share q both mean the threshold 1 − q
    assert [line.split(" with ") for line in counted.splitlines() if " with " in line] == [
        ["   2", "--quality 0.5"],
        ["  14", "--quality 0.9"],
        ["  14", "--quality 1"],
        ["   1", "--large-share 0.3"],
    ]


def test_the_command_line_takes_one_knob(example: Load, capsys: pytest.CaptureFixture[str]) -> None:
    demo = example("01_demo")
    assert demo.chosen_knob(demo.arguments([])) == DEFAULT_KNOB
    assert demo.chosen_knob(demo.arguments(["--large-share", "0.3"])) == Knob("large_share", 0.3)
    with pytest.raises(SystemExit):
        demo.arguments(["--quality", "0.5", "--threshold", "0.5"])
    assert "not allowed with" in capsys.readouterr().err


def test_openai_without_a_key_is_refused(
    example: Load, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SystemExit):
        example("01_demo").arguments(["--openai", "a", "b"])
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def test_a_wrong_knob_is_one_line_and_no_traceback(example: Load, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("01_demo").main(["--quality", "90"]) == 1
    assert "write quality=0.9" in " ".join(capsys.readouterr().out.split())

import pytest

from shared_router import Turn, query_text


@pytest.mark.parametrize(
    ("query", "judged"),
    [
        ("  a question \n", "a question"),
        ("", ""),
        ([], ""),
        ([Turn("human", "first"), Turn("assistant", "answer"), Turn("human", "second")], "second"),
        ([Turn("human", "ask"), Turn("assistant", ""), Turn("tool", "4")], "ask"),
        ([Turn("human", "ask"), Turn("human", "Observation: 4")], "ask"),
        ([Turn("human", "ask"), Turn("human", "  ")], "ask"),
        ([Turn("system", "be brief"), Turn("assistant", "hello")], "be brief\n\nhello"),
        ([Turn("human", "Observation: only this")], "Observation: only this"),
    ],
)
def test_the_text_that_is_judged(query: str | list[Turn], judged: str) -> None:
    assert query_text(query) == judged

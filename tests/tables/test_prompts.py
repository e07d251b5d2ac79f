"""Prompts from files of every shape, and what every kind of bad input is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from shared_router.errors import OutcomeError
from shared_router.tables.prompts import FORMATS, Prompt, conversation_hash, read_prompts

PERU = "What is the capital of Peru?"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def human(text: str) -> dict[str, Any]:
    kwargs = {"content": text, "type": "human"}
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": kwargs}


# -- rows


def test_rows_with_a_prompt(tmp_path: Path) -> None:
    rows = [
        {"id": "q1", "prompt": PERU, "reference": "Lima", "topic": "geography", "group": 3, "score": float("nan")},
        "",
        {"prompt": "  é  ", "reference": ["x", 1]},
        {"id": 7, "prompt": '[{"role": "user", "content": "not parsed"}]'},
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows))
    columns = {"topic": "geography", "group": 3, "score": None}
    assert read.rows[0] == Prompt("q1", PERU, (user(PERU),), "Lima", columns)
    assert (read.rows[1].text, read.rows[1].messages[0]["content"]) == ("é", "  é  ")
    assert (read.rows[2].id, read.rows[2].text) == ("7", rows[3]["prompt"])
    assert (read.format, read.skipped, read.merged, read.passed_over) == ("rows", (), 0, 0)


def test_a_missing_id_is_a_hash_that_stays(tmp_path: Path) -> None:
    read = read_prompts(jsonl(tmp_path / "a.jsonl", [{"prompt": PERU}, {"messages": [user("a")], "reference": 1}]))
    again = read_prompts(jsonl(tmp_path / "b.jsonl", [{"messages": [user("a")]}, {"prompt": PERU, "topic": 1}]))
    assert [one.id for one in read.rows] == [one.id for one in reversed(again.rows)]
    # a changed hash would ask every prompt again
    assert read.rows[0].id == "9c16fb9766963322" == conversation_hash([user(PERU)])


def test_rows_with_messages_judge_the_last_user_text_and_send_all(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    conversation = [system, user("a"), {"role": "assistant", "content": "b"}, user(" c ")]
    rows = [
        {"messages": [*conversation, {"role": "assistant", "content": "d"}], "prompt": "a"},
        {"prompt": [user("TRL")]},
    ]
    read = read_prompts(jsonl(tmp_path / "a.ndjson", rows))
    assert read.rows[0].text == "c"
    assert read.rows[0].messages == tuple(conversation)
    assert read.rows[0].reference is None
    assert read.rows[0].columns == {}
    assert read.rows[1].text == "TRL"
    assert read_prompts(tmp_path / "a.ndjson", logged_as_reference=True).rows[0].reference == "d"


def test_csv_holds_messages_as_json(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "messages", "reference", "topic"])
        writer.writerow(["1", "two\nlines", "", "", ""])
        writer.writerow(["2", "", json.dumps([["system", "s"], ["human", "b"]]), "r", "t"])
    read = read_prompts(tmp_path / "a.csv")
    assert [(one.id, one.text, one.reference) for one in read.rows] == [("1", "two\nlines", None), ("2", "b", "r")]
    assert [one["role"] for one in read.rows[1].messages] == ["system", "user"]
    assert read.rows[1].columns == {"topic": "t"}


def test_parquet(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    rows = [
        {"prompt": "a", "messages": None, "at": pd.Timestamp("2026-01-02"), "n": float("nan")},
        {"prompt": None, "messages": [{"role": "user", "content": "b", "name": None}], "at": None, "n": 1.5},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    read = read_prompts(tmp_path / "a.parquet")
    assert [one.text for one in read.rows] == ["a", "b"]
    assert read.rows[1].messages == (user("b"),)
    assert read.rows[0].columns["n"] is None
    assert str(read.rows[0].columns["at"]).startswith("2026-01-02")
    json.dumps([dict(one.columns) for one in read.rows], allow_nan=False)


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}, lambda rows: {"rows": rows, "n": 2}])
def test_json_lists(tmp_path: Path, wrap: Any) -> None:
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(wrap([{"prompt": "a"}, {"prompt": "b"}])), "utf-8")
    assert [one.text for one in read_prompts(tmp_path / "a.json").rows] == ["a", "b"]


# -- LangSmith


def run(text: str = PERU, **fields: Any) -> dict[str, Any]:
    return {"id": f"run-{text}", "run_type": "llm", "inputs": {"messages": [[human(text)]]}, **fields}


def test_langsmith_runs_of_models_are_taken_and_other_steps_passed_over(tmp_path: Path) -> None:
    answer = {"text": "Lima", "message": {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {}}}
    rows = [
        {"id": "root", "run_type": "chain", "inputs": {"input": PERU}, "outputs": {"output": "Lima"}},
        run(outputs={"generations": [[answer]]}, parent_run_id="root", tags=["x"], session_id="the project"),
        run("b", extra={"metadata": {"thread_id": "t1", "tier": "gold", "ls_provider": "openai"}}),
        {"id": "t", "run_type": "tool", "inputs": {"input": "search"}},
        run("b", id="again"),
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows))
    assert [(one.id, one.text, one.reference) for one in read.rows] == [
        (f"run-{PERU}", PERU, None),
        ("run-b", "b", None),
    ]
    assert (read.format, read.passed_over, read.merged) == ("langsmith", 2, 1)
    assert read.rows[0].columns == {"tags": ["x"]}
    assert read.rows[1].columns == {"metadata.thread_id": "t1", "metadata.tier": "gold", "group": "t1"}
    assert read_prompts(tmp_path / "a.jsonl", logged_as_reference=True).rows[0].reference == "Lima"


def test_langsmith_root_runs_are_taken_where_no_model_was_traced(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "run_type": "chain", "inputs": {"messages": [{"type": "human", "content": "a"}]}},
        {"id": "2", "run_type": "chain", "inputs": {"question": "b"}, "parent_run_id": None},
        {"id": "3", "run_type": "chain", "inputs": {"question": "inner"}, "parent_run_id": "2"},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"runs": rows}))
    read = read_prompts(tmp_path / "a.json")
    assert [one.text for one in read.rows] == ["a", "b"]
    assert read.passed_over == 1


def test_langsmith_bulk_export_is_parquet_with_json_in_strings(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    rows = [run(), run("b")]
    pd.DataFrame([{**row, "inputs": json.dumps(row["inputs"]), "extra": "{}"} for row in rows]).to_parquet(
        tmp_path / "a.parquet"
    )
    assert [one.text for one in read_prompts(tmp_path / "a.parquet").rows] == [PERU, "b"]


def test_outputs_of_a_langsmith_dataset_are_references(tmp_path: Path) -> None:
    rows = [
        {"inputs": {"question": PERU}, "outputs": {"answer": "Lima"}, "metadata": {"level": 1}},
        {"inputs": {"messages": [user("b")]}, "outputs": {"message": {"role": "assistant", "content": "B"}}},
        {"inputs": {"anything": "c"}, "outputs": {"one": "1", "two": "2"}},
        {"inputs": {"input": "d"}, "outputs": {"output": '{"a": 1}'}},
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows))
    assert [(one.text, one.reference) for one in read.rows] == [
        (PERU, "Lima"),
        ("b", "B"),
        ("c", None),
        ("d", '{"a": 1}'),
    ]
    assert read.rows[0].columns == {"metadata.level": 1}


# -- Langfuse


def test_langfuse_generations_in_every_spelling_of_their_input(tmp_path: Path) -> None:
    conversation = [{"role": "system", "content": "s"}, user("c")]
    common = {"type": "GENERATION", "trace_id": "t", "session_id": "s1", "user_id": "u"}
    rows = [
        {"id": "1", "input": "a", "output": "A", **common},
        {"id": "2", "input": [user("b")], "metadata": {"tier": "gold", "deep": {"x": 1}}, **common},
        {"id": "3", "input": {"messages": conversation, "tools": []}, **common},
        {"id": "4", "input": json.dumps([user("d")]), "metadata": '{"tier": "free"}', **common},
        {"id": "5", "input": {"args": ["e"], "kwargs": {}}, **common},
        {"id": "6", "input": {"args": [], "kwargs": {"question": "f"}}, **common},
        {"id": "7", "input": "inner", "type": "SPAN", "trace_id": "t"},
        {"id": "8", "input": None, "type": "GENERATION"},
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows))
    assert [(one.id, one.text) for one in read.rows] == list(zip("123456", "abcdef", strict=True))
    assert read.rows[2].messages == tuple(conversation)
    assert read.rows[1].columns == {"user_id": "u", "metadata.tier": "gold", "group": "s1"}
    assert read.rows[3].columns["metadata.tier"] == "free"
    assert (read.format, read.passed_over) == ("langfuse", 2)
    assert read_prompts(tmp_path / "a.jsonl", logged_as_reference=True).rows[0].reference == "A"


def test_langfuse_traces_datasets_and_one_downloaded_trace(tmp_path: Path) -> None:
    traces = [{"id": "t1", "name": "chat", "input": "a", "sessionId": "s", "tags": []}, {"id": "t2", "input": None}]
    read = read_prompts(jsonl(tmp_path / "traces.jsonl", traces))
    assert [(one.text, dict(one.columns)) for one in read.rows] == [("a", {"name": "chat", "group": "s"})]
    items = [{"id": "i", "input": {"question": PERU}, "expectedOutput": {"answer": "Lima"}}]
    (tmp_path / "items.json").write_text(json.dumps({"data": items, "meta": {"page": 1}}))
    assert read_prompts(tmp_path / "items.json").rows[0].reference == "Lima"
    steps = [{"id": "o1", "type": "SPAN", "input": "x"}, {"id": "o2", "type": "GENERATION", "input": [user("b")]}]
    (tmp_path / "trace-1.json").write_text(json.dumps({"id": "t1", "input": "a", "observations": steps}))
    assert [one.text for one in read_prompts(tmp_path / "trace-1.json").rows] == ["b"]


# -- chat logs


def test_logged_requests(tmp_path: Path) -> None:
    answer = {"choices": [{"message": {"role": "assistant", "content": "Lima"}}]}
    rows = [
        {"id": "1", "request": {"model": "m", "messages": [user(PERU)]}, "response": answer, "team": "x"},
        {"request": json.dumps({"messages": [user("b")]})},
        {"custom_id": "3", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [user("c")]}},
        {"request": {"method": "POST", "body": json.dumps({"system": "s", "messages": [user("d")]})}},
        {"request": {"instructions": "s", "input": "e"}},
        {"request": {"messages": [user(PERU)]}, "response": None},
    ]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows), logged_as_reference=True)
    assert [one.text for one in read.rows] == [PERU, "b", "c", "d", "e"]
    assert (read.rows[0].id, read.rows[2].id) == ("1", "3")
    assert (read.rows[0].reference, read.rows[1].reference) == ("Lima", None)
    assert [one["role"] for one in read.rows[3].messages] == ["system", "user"]
    assert [one["content"] for one in read.rows[4].messages] == ["s", "e"]
    assert read.rows[0].columns == {"team": "x"}
    assert (read.format, read.merged) == ("chat", 1)


def test_sharegpt(tmp_path: Path) -> None:
    said = [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
        {"from": "human", "value": "c"},
        {"from": "gpt", "value": "d"},
    ]
    (tmp_path / "a.json").write_text(json.dumps([{"id": "x_0", "conversations": said, "system": "s", "lang": "en"}]))
    (prompt,) = read_prompts(tmp_path / "a.json", logged_as_reference=True).rows
    assert (prompt.id, prompt.text, prompt.reference) == ("x_0", "c", "d")
    assert [one["content"] for one in prompt.messages] == ["s", "a", "b", "c"]
    assert prompt.columns == {"lang": "en"}


# -- formats, ids


def test_a_format_can_be_forced(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": "rows", "input": "langfuse", "inputs": {"input": "langsmith"}}])
    texts = {shape: read_prompts(path, format=shape).rows[0].text for shape in ("rows", "langfuse", "langsmith")}
    assert texts == {shape: shape for shape in texts}
    assert read_prompts(path).format == "rows"
    with pytest.raises(OutcomeError, match=f"auto or one of {', '.join(FORMATS)}, got 'xml'"):
        read_prompts(path, format="xml")


def test_exact_duplicates_are_counted_and_merged(tmp_path: Path) -> None:
    rows = [{"id": 1, "prompt": "a", "n": 1}, {"id": 1, "prompt": "a", "n": 2}, {"prompt": "b"}, {"prompt": "b"}]
    read = read_prompts(jsonl(tmp_path / "a.jsonl", rows))
    assert [(one.text, dict(one.columns)) for one in read.rows] == [("a", {"n": 1}), ("b", {})]
    assert read.merged == 2


def test_ones_own_ids_keep_equal_prompts_apart(tmp_path: Path) -> None:
    read = read_prompts(jsonl(tmp_path / "a.jsonl", [{"id": 1, "prompt": "a"}, {"id": 2, "prompt": "a"}]))
    assert [one.id for one in read.rows] == ["1", "2"]


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({"id": "x", "prompt": "b"}, "id 'x' stands for another prompt in .*line 1"),
        ({"id": "x", "prompt": "a", "reference": 2}, ".*another reference in .*line 1"),
    ],
)
def test_one_id_for_two_prompts_names_both_lines(tmp_path: Path, second: dict[str, Any], what: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"id": "x", "prompt": "a", "reference": 1}, "", second, {"prompt": "c"}])
    with pytest.raises(OutcomeError, match=rf"line 3: {what}"):
        read_prompts(path)
    read = read_prompts(path, skip_bad=True)
    assert [one.text for one in read.rows] == ["a", "c"]
    assert len(read.skipped) == 1


# -- bad input


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{broken", "not JSON"),
        ("[1]", "a row is a JSON object, got list"),
        ({"id": 1}, "no value for prompt or messages .*id"),
        ({"prompt": None}, "no value for prompt or messages"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": 5}, "prompt is a string, got int"),
        ({"prompt": []}, "the list of messages is empty"),
        ({"prompt": "\ud800"}, "prompt is not valid UTF-8"),
        ({"prompt": "a", "note": ["\ud800"]}, "note is not valid UTF-8"),
        ({"prompt": "a", "id": True}, "id is a string or a whole number, got bool"),
        ({"prompt": "a", "id": ""}, "id is empty"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "all messages are the assistant's"),
        ({"messages": [{"role": "user", "content": " "}]}, "prompt is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "prompt is empty"),
        ({"messages": 5}, "messages are a list, got int"),
    ],
)
def test_a_bad_row_is_named_by_its_line_or_skipped_and_counted(tmp_path: Path, row: object, what: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"prompt": "a good one"}, row, {"prompt": "another"}])
    with pytest.raises(OutcomeError, match=rf"a\.jsonl, line 2: {what}.*--skip-bad"):
        read_prompts(path)
    read = read_prompts(path, skip_bad=True)
    assert [one.text for one in read.rows] == ["a good one", "another"]
    assert "line 2" in read.skipped[0]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (run(inputs={}), "inputs has neither messages nor a text under messages, .*there are: none"),
        (run(inputs=None), "inputs has neither messages nor a text, got null"),
        (run(inputs={"a": 1, "b": 2}), ".*there are: a, b"),
    ],
)
def test_a_run_without_a_text_is_named(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    with pytest.raises(OutcomeError, match=f"line 2: {what}"):
        read_prompts(jsonl(tmp_path / "a.jsonl", [run(), row]))


def test_bytes_that_are_no_utf_8_are_found_in_any_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "b", "note": "caf\xe9"}\n')
    with pytest.raises(OutcomeError, match="line 2: note is not valid UTF-8"):
        read_prompts(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_bytes(b'[{"prompt": "a"}, {"prompt": "caf\xe9"}]')
    with pytest.raises(OutcomeError, match="item 2: prompt is not valid UTF-8"):
        read_prompts(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", "x", "the ending says the format; use one of .*json"),
        ("a.jsonl", "", "has no row"),
        ("a.jsonl", "{\n[", "no row of the file can be read"),
        ("a.jsonl", '{"text": "a"}', "line 1: no column holds a prompt .*there are: text.*LangSmith"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"prompt": "a"}\n{"prompt": "b"}', "is not JSON .*call it .jsonl"),
        ("a.json", "5", "holds no list of rows"),
        ("a.json", '{"a": 1}', "holds no list of rows"),
        ("a.json", "[5]", "item 1: a row is a JSON object, got int"),
        ("a.csv", "question\na\n", "line 2: no column holds a prompt"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: str, what: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(OutcomeError, match=what):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize("name", ["none.jsonl", "none.json", "none.parquet"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutcomeError, match=f"{name} does not exist"):
        read_prompts(tmp_path / name)


def test_nothing_left(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [run(run_type="tool", parent_run_id="x")])
    with pytest.raises(OutcomeError, match="no usable prompt, read as 'langsmith'; 1 rows are no call to a model"):
        read_prompts(path)
    path = jsonl(tmp_path / "b.jsonl", [{"prompt": ""}])
    with pytest.raises(OutcomeError, match=r"1 rows were left out; the first: .*line 1: prompt is empty"):
        read_prompts(path, skip_bad=True)

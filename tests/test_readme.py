"""Every Python block of the README runs, top to bottom in one namespace, with doubles in place of the paid models."""

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import langchain_openai
    import llama_index.llms.openai
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_hybrid.testing import ScriptedChatModel
    from llamaindex_hybrid.testing import ScriptedLLM

    def chat_model(model: str, **settings: Any) -> ScriptedChatModel:
        return ScriptedChatModel(model=model)

    def llm(model: str, **settings: Any) -> ScriptedLLM:
        return ScriptedLLM(model=model)

    monkeypatch.setattr(langchain_openai, "ChatOpenAI", chat_model)
    monkeypatch.setattr(langchain_openai, "OpenAIEmbeddings", lambda: DeterministicFakeEmbedding(size=8))
    monkeypatch.setattr(llama_index.llms.openai, "OpenAI", llm)

    assert len(BLOCKS) >= 7
    namespace: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), namespace)
    assert "'target':" in capsys.readouterr().out


def test_the_readme_names_both_commands_and_files_that_exist() -> None:
    text = README.read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (README.parent / link).exists(), link

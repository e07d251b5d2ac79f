"""Every Python block of the README runs, top to bottom in one namespace, with doubles in place of the paid models."""

import re
from pathlib import Path
from typing import Any

import pytest

from shared_router.artifact import Artifact
from shared_router.router import DEFAULT_ROUTER
from shared_router.tables.labeled import LabeledPrompt, labeled_from
from shared_router.training.calibrating import calibrated

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def write_router(folder: Path) -> None:
    """The reader's own router: the embedded one, calibrated on a few prompts."""
    rows = [LabeledPrompt(f"why {i} " + "and so on " * (i % 40), (float(i % 40 < 20),), (1.0,)) for i in range(200)]
    calibrated(Artifact.load(DEFAULT_ROUTER), labeled_from(rows), name=folder.name).save(folder)


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
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

    write_router(tmp_path / "my-router")
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 8
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

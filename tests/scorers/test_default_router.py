"""The artifact that is shipped: small, repeatable, and sane on a few questions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import shared_router
from shared_router.evaluation.metrics import apgr
from shared_router.router import Router

DATA = Path(os.environ.get("HYBRID_LLM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data" / "outcomes"))
FOLDER = Path(shared_router.__file__).parent / "default_router"

EASY = "What is the capital of France?"
HARD = (
    "A cistern is filled by two pipes in 12 and 15 minutes and emptied by a third in 6 minutes. If the third pipe is "
    "opened 5 minutes after the other two, how many litres are lost a minute, given that the cistern holds 300 litres?"
)
TEXTS = ["", EASY, HARD, "Write a function that sorts a list.\n", "Why?\nA) yes\nB) no", "你好吗", "\ud800\x00🤔"]
GOLDEN = [0.097401, 0.182185, 0.309181, 0.234488, 0.177773, 0.121753, 0.122613]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.default()


def test_the_artifact_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 10 * 2**20
    assert (FOLDER / "model_card.md").is_file()


def test_a_chain_of_steps_is_harder_than_a_capital(router: Router) -> None:
    easy, hard = router.difficulty([EASY, HARD])
    assert hard > easy + 0.05


def test_scores_are_the_same_in_every_batch(router: Router) -> None:
    alone = [router.difficulty([text])[0] for text in TEXTS]
    assert router.difficulty(TEXTS).tolist() == alone
    assert router.difficulty(TEXTS * 30).tolist() == alone * 30


def test_scores_are_the_same_on_every_machine(router: Router) -> None:
    # written down on x86-64 Linux; a change here means that the artifact was trained again
    assert router.difficulty(TEXTS).tolist() == GOLDEN


def test_distinct_questions_do_not_collapse(router: Router) -> None:
    scores = router.difficulty([f"What is the {word} of {place}?" for word in ("capital", "area") for place in "XYZ"])
    assert len(np.unique(scores)) == 6


def test_a_long_text_is_read_in_part_only(router: Router) -> None:
    # 8,192 characters are read, but the length of what is cut off is not seen either
    long = "word " * 20_000
    assert router.difficulty([long]).tolist() == router.difficulty([long + "and a last question?"]).tolist()


@pytest.mark.shared
@pytest.mark.skipif(not (DATA / "routellm_mmlu.parquet").is_file(), reason="the outcome tables are not there")
@pytest.mark.parametrize(("table", "published"), [("mmlu", 0.574), ("gsm8k", 0.604)])
def test_the_published_figures_are_those_of_this_artifact(router: Router, table: str, published: float) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.read_parquet(DATA / f"routellm_{table}.parquet")
    key = ["task", "query_id"]
    quality = frame.pivot_table(index=key, columns="model", values="quality")
    texts = frame.drop_duplicates(key).set_index(key)["query"].loc[quality.index].tolist()
    small = quality["mistralai/Mixtral-8x7B-Instruct-v0.1"].to_numpy(float)
    large = quality["gpt-4-1106-preview"].to_numpy(float)
    assert apgr(router.difficulty(texts), small, large) == pytest.approx(published, abs=0.001)

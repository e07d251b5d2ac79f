"""Gates: what is known of RouteLLM's tables without its questions that stand in its training data.

The tables serve to check the mathematics of the oracle and of guessing, and for nothing else: no setting is chosen on
them. The expected figures were computed from RouteLLM's repository, independently of this code; the questions that it
leaves out are listed in ``shared_router.evaluation.routellm``, so that the rows are the very same and nothing needs a
tolerance but the last printed digit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shared_router.evaluation.metrics import apgr, cpt, random_apgr_deviation
from shared_router.evaluation.routellm import CONTAMINATED

DATA = Path(os.environ.get("HYBRID_LLM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data" / "outcomes"))
SMALL, LARGE = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not (DATA / "routellm_mmlu.parquet").is_file(), reason="the outcome tables are not there"),
]


@dataclass(frozen=True)
class Known:
    """Figures of one table; means and CPT in the units of RouteLLM's print-out."""

    source: str
    judgements: int
    queries: int
    small: float
    large: float
    exact: float
    integral: float
    cpt_50: float
    cpt_80: float
    deviation: float


TABLES = (
    Known("routellm_mmlu", 14037, 14037, 68.091, 80.587, 1.268, 1.285, 6.25, 10.00, 0.011),
    Known("routellm_gsm8k", 1307, 1307, 63.734, 85.769, 1.115, 1.121, 11.02, 17.63, 0.0195),
    # 72 questions of two turns, routed by the question, scored 1 to 10
    Known("mt_bench_routellm", 144, 72, 828.125, 921.181, 0.953, 0.964, 9.08, 18.01, 0.066),
)


def outcomes(known: Known) -> tuple[np.ndarray, np.ndarray, int]:
    """Quality of both models by question, and the number of judgements."""
    pd = pytest.importorskip("pandas")
    frame = pd.read_parquet(DATA / f"{known.source}.parquet", columns=["task", "query_id", "model", "quality"])
    frame = frame[~frame["query_id"].isin(CONTAMINATED[known.source])]
    judgements = int((frame["model"] == SMALL).sum())
    question = frame["query_id"].str.replace(r"-t[12]$", "", regex=True)
    quality = frame.assign(query_id=question).pivot_table(index=["task", "query_id"], columns="model", values="quality")
    return quality[SMALL].to_numpy(float), quality[LARGE].to_numpy(float), judgements


@pytest.mark.parametrize("known", TABLES, ids=lambda known: known.source)
def test_rows_and_end_points_are_the_tables(known: Known) -> None:
    small, large, judgements = outcomes(known)
    assert (judgements, len(small)) == (known.judgements, known.queries)
    assert 100 * small.mean() == pytest.approx(known.small, abs=0.001)
    assert 100 * large.mean() == pytest.approx(known.large, abs=0.001)


@pytest.mark.parametrize("known", TABLES, ids=lambda known: known.source)
def test_the_oracle(known: Known) -> None:
    small, large, _ = outcomes(known)
    gain = large - small
    assert apgr(gain, small, large) == pytest.approx(known.integral, abs=0.0005)
    # RouteLLM's sweep refuses tied deciles: a hair of noise breaks ties at random
    noise = np.random.default_rng(0).random((5, len(gain))) * 1e-6
    sweeps = [
        (
            apgr(gain + hair, small, large, method="routellm"),
            100 * cpt(gain + hair, small, large, 0.5, method="routellm"),
            100 * cpt(gain + hair, small, large, 0.8, method="routellm"),
        )
        for hair in noise
    ]
    assert np.mean(sweeps, axis=0) == pytest.approx([known.exact, known.cpt_50, known.cpt_80], abs=0.005)


@pytest.mark.parametrize("known", TABLES, ids=lambda known: known.source)
def test_guessing(known: Known) -> None:
    small, large, _ = outcomes(known)
    generator, runs = np.random.default_rng(1), 100
    guesses = np.array([apgr(generator.random(len(small)), small, large) for _ in range(runs)])
    deviation = random_apgr_deviation(small, large)
    assert guesses.mean() == pytest.approx(0.5, abs=3 * deviation / np.sqrt(runs))
    # the standard error of a deviation from 100 runs is 7 %
    assert guesses.std() == pytest.approx(deviation, rel=0.2)
    # stated to two digits from a sweep of eleven points, which scatters somewhat more than the integral
    assert deviation == pytest.approx(known.deviation, rel=0.2)
    assert apgr(np.zeros(len(small)), small, large) == pytest.approx(0.5, abs=1e-12)

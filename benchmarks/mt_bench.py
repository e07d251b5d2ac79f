"""Prompt length, the embedded router and the peers on MT-Bench: ``python -m benchmarks.mt_bench --data DIR``.

As in RouteLLM: 80 questions of two turns, answers of Mixtral-8x7B and GPT-4-1106 judged by GPT-4 from 1 to 10; a
question is routed on its first turn, both turns' marks count (their mean, here). RouteLLM leaves eight questions out
that stand in its training data; they are left out in the first table, for comparison with what it published, and kept
in the second, since nothing measured here learned from them.

So few questions say little: the standard deviation of a random router's APGR is .066, and differences below .13 say
nothing. The intervals come from bootstrap samples of the questions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.bench_peers import HOME, MEASURED, measured, report
from shared_router.evaluation.metrics import random_apgr_deviation
from shared_router.training.outcomes import Outcomes, outcomes_from

SOURCE = "mt_bench_routellm"
LEFT_OUT_BY_ROUTELLM = ("81", "88", "91", "92", "101", "104", "120", "122")
"""From routellm/evals/mt_bench/contaminated_prompts.jsonl in lm-sys/RouteLLM; its index is 0 where the id is 81."""
PUBLISHED = "RouteLLM published .751 (BERT), .759 (SW) and .802 (MF) for the 72, in its own sweep of ten steps."


def first_turns(folder: Path) -> tuple[Outcomes, tuple[str, ...]]:
    """The first turns with the mean of both turns' marks, and the ids of the questions.

    Args:
        folder: Where the outcome tables lie.
    """
    import pandas as pd

    frame = pd.read_parquet(folder / f"{SOURCE}.parquet")
    question = frame["query_id"].str.rsplit("-t", n=1).str[0]
    mean = frame.groupby([question, "model"])["quality"].transform("mean")
    first = frame.assign(quality=mean)[frame["query_id"].str.endswith("-t1")]
    table = outcomes_from(first, SOURCE)
    ids = first.drop_duplicates(["task", "query_id"]).sort_values(["task", "query_id"])["query_id"]
    return table, tuple(ids.str.removesuffix("-t1"))


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables (.parquet)")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of the peers' environments")
    given = parser.parse_args()
    everything, ids = first_turns(given.data)
    kept = everything.rows(np.array([one not in LEFT_OUT_BY_ROUTELLM for one in ids]))
    console = Console(width=250)
    for table in (kept, everything):
        with Progress(console=Console(stderr=True)) as progress:
            run = measured([table], given.home.resolve(), progress, with_speed=False)
        report(run, [table], console)
    pair = MEASURED[SOURCE][0]
    small, large = kept.marks(pair.small), kept.marks(pair.large)
    print(
        f"The 72: mean marks {small.mean():.3f} and {large.mean():.3f}; a random router's APGR has .500 as its mean ",
        end="",
    )
    print(f"and {random_apgr_deviation(small, large):.3f} as its standard deviation.")
    print(PUBLISHED)


if __name__ == "__main__":
    main()

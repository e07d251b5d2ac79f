"""The questions that RouteLLM leaves out of its tables.

Ong et al. 2024 (arXiv 2406.18665) drop a question from the evaluation if a training prompt has a cosine similarity of
0.95 or more to it. Their repository lists such questions (lm-sys/RouteLLM, Apache-2.0, contaminated_prompts.jsonl in
the folders routellm/evals/gsm8k and mt_bench at 2c3f0472 and src/routellm/evals/mmlu at 16ffc003); these are the same,
found by their text in the outcome tables. Of a question of MT-Bench both turns go.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CONTAMINATED"]

CONTAMINATED: Mapping[str, tuple[str, ...]] = {
    "routellm_mmlu": (
        "high_school_european_history-4",
        "high_school_microeconomics-48",
        "machine_learning-0",
        "college_chemistry-37",
        "electrical_engineering-71",
    ),
    "routellm_gsm8k": tuple(f"gsm8k-{row}" for row in (0, 1, 2, 18, 67, 147, 233, 269, 285, 364, 530, 932)),
    "mt_bench_routellm": tuple(
        f"{question}-t{turn}" for question in (81, 88, 91, 92, 101, 104, 120, 122) for turn in (1, 2)
    ),
}
"""``query_id`` by source."""

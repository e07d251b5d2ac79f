"""The paper's router with a small encoder on one pair: ``python -m benchmarks.transformer_router --data DIR``.

Trained on rows marked train, of which a fifth chooses the checkpoint and calibrates, and measured on the rows marked
validation, which choose nothing. all-MiniLM-L6-v2 stands for DeBERTa-v3-large, which wants a GPU; learning rate and
batch are what suits its size, fixed before anything was measured. One thread serves.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from shared_router.artifact import Artifact
from shared_router.evaluation.metrics import apgr, paired_bootstrap
from shared_router.router import Router
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from
from shared_router.training.fit_own import fit_own
from shared_router.training.outcomes import read_outcomes
from shared_router.training.sentence_encoder import encoder_folder
from shared_router.training.sources import Pair
from shared_router.training.transformer_fit import TransformerReport, fit_transformer
from shared_router.training.transformer_router import TransformerSettings

Floats = npt.NDArray[np.float64]

PAIRS = {
    "zeroeval": Pair("gemma-2-9b-it", "gpt-4o-2024-08-06"),
    "mmlu_pro": Pair("Phi-3-mini-4k-instruct", "gemini-1.5-pro-002"),
}

SETTINGS = TransformerSettings(epochs=3, learning_rate=1e-4, batch_size=16)


@dataclass(frozen=True, slots=True)
class Rows:
    """What is learned from, and what is measured on."""

    train: LabeledPrompts
    test: LabeledPrompts


def read_rows(folder: Path, source: str, limit: int) -> Rows:
    """Rows of one pair, at most ``limit`` to learn from."""
    pair = PAIRS[source]
    outcomes = read_outcomes(folder, source)
    small, large = outcomes.marks(pair.small), outcomes.marks(pair.large)
    known = np.isfinite(small) & np.isfinite(large)

    def part(split: str, most: int | None) -> LabeledPrompts:
        rows = np.random.default_rng(0).permutation(np.flatnonzero(known & (outcomes.split == split)))[:most]
        return labeled_from(
            [
                LabeledPrompt(
                    outcomes.texts[i], (float(small[i]),), (float(large[i]),), {"group": str(outcomes.groups[i])}
                )
                for i in np.sort(rows)
            ]
        )

    return Rows(part("train", limit), part("validation", None))


def median_latency(router: Router, prompts: tuple[str, ...]) -> float:
    """Milliseconds that one query takes, the median over the prompts."""
    router.difficulty(prompts[:3])
    taken = []
    for prompt in prompts:
        start = time.perf_counter()
        router.difficulty([prompt])
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def figures(name: str, scores: Floats, test: LabeledPrompts) -> list[str]:
    """APGR, and how much it is over that of prompt length."""
    length = np.array([float(len(prompt)) for prompt in test.prompts])
    over = paired_bootstrap(scores, length, [test.small], [test.large])
    return [
        name,
        f"{apgr(scores, test.small, test.large):.3f}",
        f"{over.estimate:+.3f} [{over.low:+.3f}, {over.high:+.3f}]",
    ]


def show(source: str, rows: Rows, report: TransformerReport, artifact: Artifact, *, with_fit: bool) -> None:
    """Print the table."""
    router = Router.from_artifact(artifact)
    test = rows.test
    ways = Table("router", "APGR", "over prompt length, 95 %", title=f"{source}, {len(test)} prompts it has not seen")
    ways.add_row(*figures("prompt length", np.array([float(len(prompt)) for prompt in test.prompts]), test))
    if with_fit:
        own = fit_own(rows.train).artifact
        if own is not None:
            ways.add_row(*figures("hybrid-llm fit", Router.from_artifact(own).difficulty(test.prompts), test))
    ways.add_row(*figures("hybrid-llm train", router.difficulty(test.prompts), test))
    ways.add_row(*figures("oracle", test.large - test.small, test))
    console = Console(width=120)
    console.print(ways)
    trained, served = report.trained, report.served
    console.print(
        f"labels: {report.kind}; learned from {len(report.parts.learned)} prompts, {trained.truncated} of them with "
        f"more than {trained.settings.max_tokens} tokens, in {trained.seconds:.0f} s; checkpoint chosen on "
        f"{len(report.parts.validation)}: {dict(trained.spearman)}, step {trained.best_step}"
    )
    console.print(
        f"served: {served.scorer.precision}, {served.scorer.onnx.size / 1e6:.1f} MB, float32 {served.float32}, "
        f"int8 {served.int8}; one query {median_latency(router, test.prompts):.1f} ms (p50)"
    )


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables")
    parser.add_argument("--source", choices=PAIRS, default="zeroeval", help="outcome table")
    parser.add_argument("--encoder", type=Path, help="folder of the encoder; without it the installed MiniLM")
    parser.add_argument("--rows", type=int, default=1200, help="most prompts to train with")
    parser.add_argument("--with-fit", action="store_true", help="also measure what `hybrid-llm fit` gets from them")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    rows = read_rows(arguments.data, arguments.source, arguments.rows)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, console.status("reading") as status:
        report = fit_transformer(
            rows.train,
            output_dir=folder,
            base=encoder_folder(arguments.encoder),
            settings=SETTINGS,
            advance=status.update,
        )
    if report is not None:
        show(arguments.source, rows, report, report.artifact, with_fit=arguments.with_fit)


if __name__ == "__main__":
    main()

"""Train the embedded default router: ``python -m benchmarks.train_default_router --data DIR``.

Reads the outcome tables, learns from the rows that are marked train, whose licence allows it and which stand in no
benchmark, and writes the artifact. Takes about 10 minutes on one core, nearly all of it for the teacher's sentence
vectors; the same seed gives the same router on the same machine and library versions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.progress import Progress

import shared_router
from benchmarks.sentence_vectors import SentenceVectors
from shared_router.artifact import Artifact
from shared_router.training.fit_default import (
    fit_scorer,
    logistic_calibrator,
    measured_curve,
    pair_outcomes,
    start_from,
    training_rows,
)
from shared_router.training.outcomes import read_outcomes
from shared_router.training.sentence_encoder import SentenceEncoder, encoder_folder
from shared_router.training.sources import PAIRS, SHIPPABLE
from shared_router.training.static_table import TableSettings

OUT = Path(shared_router.__file__).parent / "default_router"


def trained_artifact(data: Path, encoder: Path | None, cache: Path | None, progress: Progress) -> Artifact:
    """The artifact, in memory.

    Args:
        data: Folder of the outcome tables.
        encoder: Folder of the sentence encoder's files, or None for the installed package.
        cache: File of sentence vectors to read and write, or None.
        progress: Shows how far it is.
    """
    settings = TableSettings()
    tables = [read_outcomes(data, source) for source in SHIPPABLE]
    rows = training_rows(tables)
    teacher = SentenceEncoder(encoder_folder(encoder))
    vectors = SentenceVectors(teacher, cache).of(rows.texts, progress)
    start = start_from(teacher.tokenizer_json, teacher.token_vectors(), settings)
    task = progress.add_task("token table", total=settings.epochs * max(len(rows.texts) // settings.batch, 1))
    scorer = fit_scorer(rows, vectors, start, settings, advance=lambda n: progress.update(task, advance=n))
    held_out = [table.rows((table.split == "validation") & ~table.overlap) for table in tables]
    outcomes = pair_outcomes(held_out, [scorer.score(table.texts) for table in held_out])
    calibration = logistic_calibrator(outcomes)
    config, tensors = scorer.to_state()
    return Artifact(
        name="default",
        scorer_kind=scorer.kind,
        scorer_config=config,
        tensors=tensors,
        calibration=calibration,
        curve=measured_curve(outcomes, calibration),
        own_pair=False,
        metadata={
            "trained_on": list(SHIPPABLE),
            "training_texts": len(rows.texts),
            "calibrated_on": f"{sum(len(table.texts) for table in held_out)} validation rows of the same tables",
            "pairs": {source: [f"{pair.small} -> {pair.large}" for pair in PAIRS[source]] for source in SHIPPABLE},
            "teacher": "sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
            "seed": settings.seed,
        },
    )


def main() -> None:
    """Parse, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables (.parquet)")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package")
    parser.add_argument("--cache", type=Path, help="file (.npz) that keeps sentence vectors between runs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the artifact (default: %(default)s)")
    given = parser.parse_args()
    # sums over threads come in any order; one thread makes the run repeatable
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with Progress() as progress:
        artifact = trained_artifact(given.data, given.encoder, given.cache, progress).save(given.out)
    print(f"wrote {given.out} ({artifact.content_hash[:12]})")


if __name__ == "__main__":
    main()

"""Does a benchmark question stand in what the embedded router learned from?

    python -m benchmarks.leakage --data DIR

Compares the training rows of the embedded router (rows marked train of the tables that may be learned from, without
those that are already marked as standing in a benchmark) with every query of RouteLLM's MMLU and GSM8K and with the
first turns of MT-Bench, in four ways:

- same text: letters and digits in order, without case, space and punctuation; a training text that begins or ends with
  the whole question (at least ``LEAST_STEM`` characters) counts, since tables put instructions before or after it.
  Numbers count: the same story with other numbers is another question here, and shows in the last two;
- same stem: the same for what stands before the options of a multiple-choice question (at least ``LEAST_STEM``
  characters of it), since tables differ in how many options they give and in which order;
- characters: Jaccard similarity of the sets of five characters in a row of ``JACCARD`` or more (exact: candidates share
  one of a text's rarest shingles, without which that similarity cannot be reached);
- meaning: cosine of ``COSINE`` or more between vectors of all-MiniLM-L6-v2, which read the first 256 tokens.

Then APGR of the embedded router on each table with and without the queries that were found, each way and together.
"""

from __future__ import annotations

import argparse
import re
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import MARKDOWN
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.mt_bench import first_turns
from benchmarks.sentence_vectors import SentenceVectors
from shared_router.evaluation.metrics import apgr
from shared_router.router import Router
from shared_router.training.fit_default import training_rows
from shared_router.training.outcomes import Outcomes, read_outcomes
from shared_router.training.sentence_encoder import SentenceEncoder, encoder_folder
from shared_router.training.sources import BENCHMARKS, PAIRS, SHIPPABLE

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

SHINGLE = 5
JACCARD = 0.8
COSINE = 0.95
LEAST_STEM = 40
BLOCK = 1024
EXAMPLES = 1
_OUTSIDE = re.compile(r"[\W_]+")
_FIRST_OPTION = re.compile(r"^[ \t]*\(?A[).:][ \t]", re.MULTILINE)
_NO_MATCH = -1


def normalised(text: str) -> str:
    """Lower-case letters and digits, everything else gone."""
    return _OUTSIDE.sub("", text.casefold())


def stems(texts: Sequence[str]) -> list[str]:
    """Normalised stem of each multiple-choice question; "" where it is too short to tell questions apart."""
    found = []
    for text in texts:
        # the last one: a question may have a list of its own that begins with A
        first_option = max((match.start() for match in _FIRST_OPTION.finditer(text)), default=0)
        plain = normalised(text[:first_option])
        found.append(plain if len(plain) >= LEAST_STEM else "")
    return found


def same(asked: Sequence[str], learned: Sequence[str]) -> Rows:
    """Row among the learned keys that equals each asked one.

    Args:
        asked: n keys; "" matches nothing.
        learned: m keys.

    Returns:
        Row of the first equal one, −1 where there is none, shape (n,).
    """
    rows: dict[str, int] = {}
    for i, key in enumerate(learned):
        rows.setdefault(key, i)
    return np.array([rows.get(key, _NO_MATCH) if key else _NO_MATCH for key in asked], dtype=np.int64)


def at_an_end(asked: Sequence[str], learned: Sequence[str]) -> Rows:
    """Row of a learned key that begins or ends with each asked one.

    Args:
        asked: n keys; those shorter than ``LEAST_STEM`` match only a key that is the same.
        learned: m keys.

    Returns:
        −1 where there is none, shape (n,).
    """
    found = same(asked, learned)
    for step in (1, -1):
        ordered = sorted((key[::step], row) for row, key in enumerate(learned))
        keys = [key for key, _ in ordered]
        for i, key in enumerate(asked):
            if found[i] == _NO_MATCH and len(key) >= LEAST_STEM:
                # whatever begins with a key stands right after it in order
                place = bisect_left(keys, key[::step])
                if place < len(keys) and keys[place].startswith(key[::step]):
                    found[i] = ordered[place][1]
    return found


def near_in_characters(asked: Sequence[str], learned: Sequence[str], least: float = JACCARD) -> Rows:
    """Row of a learned text whose shingles overlap enough, for each asked text.

    Two sets of sizes a ≥ b with Jaccard similarity of at least t share t·a shingles or more. So they share one among
    the (1 − t)·a + 1 rarest of either, whatever order "rarest" means, as long as it is one order for all; only pairs
    that do are compared.

    Args:
        asked: n texts.
        learned: m texts.
        least: Similarity from which texts are near, in (0, 1].

    Returns:
        Row of the most similar one, −1 where none is near, shape (n,).
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    plain = [" ".join(text.casefold().split()) for text in (*asked, *learned)]
    if not any(len(text) >= SHINGLE for text in plain):
        return np.full(len(asked), _NO_MATCH, dtype=np.int64)
    counter = CountVectorizer(analyzer="char", ngram_range=(SHINGLE, SHINGLE), binary=True, lowercase=False)
    sets = csr_matrix(counter.fit_transform(plain), dtype=np.int32)
    rank = np.argsort(np.argsort(np.asarray(sets.sum(axis=0)).ravel(), kind="stable"), kind="stable")
    starts, columns = [0], []
    for row in range(sets.shape[0]):
        shingles = sets.indices[sets.indptr[row] : sets.indptr[row + 1]]
        kept = min(len(shingles), int(len(shingles) * (1.0 - least) + 1e-9) + 1)
        columns.append(shingles[np.argsort(rank[shingles])[:kept]])
        starts.append(starts[-1] + kept)
    rare = csr_matrix(
        (np.ones(starts[-1], dtype=np.int32), np.concatenate(columns), np.array(starts)), shape=sets.shape
    )
    n = len(asked)
    sizes = np.diff(sets.indptr)
    candidates = (rare[:n] @ rare[n:].T).tocoo()
    one, other = candidates.row, candidates.col
    smaller, larger = np.minimum(sizes[one], sizes[n + other]), np.maximum(sizes[one], sizes[n + other])
    # the similarity is at most the ratio of the sizes
    one, other = (side[smaller >= least * larger] for side in (one, other))
    found = np.full(n, _NO_MATCH, dtype=np.int64)
    best = np.zeros(n)
    for start in range(0, len(one), BLOCK):
        left, right = one[start : start + BLOCK], other[start : start + BLOCK]
        shared = np.asarray(sets[left].multiply(sets[n + right]).sum(axis=1)).ravel()
        similarity = shared / (sizes[left] + sizes[n + right] - shared)
        for i in np.flatnonzero(similarity >= least):
            if similarity[i] > best[left[i]]:
                found[left[i]], best[left[i]] = right[i], similarity[i]
    return found


def near_in_meaning(asked: Floats, learned: Floats, least: float = COSINE) -> Rows:
    """Row of the closest learned vector, for each asked one.

    Args:
        asked: Vectors of length 1, shape (n, d).
        learned: The same, shape (m, d).
        least: Cosine from which they are near.

    Returns:
        −1 where none is near, shape (n,).
    """
    found = np.full(len(asked), _NO_MATCH, dtype=np.int64)
    for start in range(0, len(asked), BLOCK):
        cosine = asked[start : start + BLOCK] @ learned.T
        closest = cosine.argmax(axis=1)
        near = cosine[np.arange(len(cosine)), closest] >= least
        found[start : start + BLOCK][near] = closest[near]
    return found


def _apgr(scores: Floats, table: Outcomes, kept: Flags) -> float:
    pair = PAIRS[BENCHMARKS[0]][0]
    return apgr(scores[kept], table.marks(pair.small)[kept], table.marks(pair.large)[kept])


def found_in(table: Outcomes, learned: Sequence[str], vectors: SentenceVectors, progress: Progress) -> dict[str, Rows]:
    """What was found in one table, by the way it was looked for.

    Args:
        table: A benchmark.
        learned: The training texts.
        vectors: Of the sentence encoder.
        progress: Shows how far it is.
    """
    asked = table.texts
    return {
        "same text": at_an_end([normalised(text) for text in asked], [normalised(text) for text in learned]),
        "same stem": same(stems(asked), stems(learned)),
        f"characters, Jaccard ≥ {JACCARD}": near_in_characters(asked, learned),
        f"meaning, cosine ≥ {COSINE}": near_in_meaning(
            vectors.of(asked, progress).astype(np.float32), vectors.of(learned, progress).astype(np.float32)
        ),
    }


def main() -> None:
    """Parse, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the outcome tables (.parquet)")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2; default: the installed package")
    parser.add_argument("--cache", type=Path, help="file (.npz) that keeps sentence vectors between runs")
    parser.add_argument(
        "--show", type=int, default=EXAMPLES, help="pairs to print a table and way (default: %(default)s)"
    )
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = training_rows([read_outcomes(given.data, source) for source in SHIPPABLE])
    tables = [*(read_outcomes(given.data, source) for source in BENCHMARKS), first_turns(given.data)[0]]
    router = Router.default()
    vectors = SentenceVectors(SentenceEncoder(encoder_folder(given.encoder)), given.cache)
    result = Table(box=MARKDOWN)
    for column in ("benchmark", "near-duplicate", "queries", "of", "APGR, all", "APGR without them"):
        result.add_column(column, no_wrap=True)
    examples: list[str] = []
    with Progress(console=Console(stderr=True)) as progress:
        for table in tables:
            found = found_in(table, rows.texts, vectors, progress)
            scores = router.difficulty(table.texts)
            whole = _apgr(scores, table, np.ones(len(scores), dtype=np.bool_))
            hits = {way: matches != _NO_MATCH for way, matches in found.items()}
            hits["any of these"] = np.logical_or.reduce(list(hits.values()))
            for way, hit in hits.items():
                without = f"{_apgr(scores, table, ~hit):.3f}" if hit.any() else "–"
                result.add_row(table.source, way, str(hit.sum()), f"{len(hit):,}", f"{whole:.3f}", without)
            for way, matches in found.items():
                for i in np.flatnonzero(matches != _NO_MATCH)[: given.show]:
                    examples.append(f"{table.source}, {way}:\n  asked   {table.texts[i][:300]!r}")
                    examples.append(f"  learned {rows.texts[matches[i]][:300]!r} ({rows.sources[matches[i]]})")
    print(f"The embedded router learned from {len(rows.texts):,} texts.")
    Console(width=160).print(result)
    print("\n".join(examples))


if __name__ == "__main__":
    main()

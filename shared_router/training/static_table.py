"""The learned token table: distilled from a sentence encoder, then trained end to end on outcomes.

Step 1 (model2vec's recipe): each token alone through the encoder, principal components, weights that fall with a
token's frequency. Step 2: the table and a direction are trained so that direction · v/|v| (v = sum of a text's token
vectors) follows the gap between strong and weak models, and the teacher's guess of that gap, which is less noisy; the
table is held to where it started, since 30,000 vectors cannot be learned from 7,000 texts. Step 3: whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared_router.encoders.static import TokenBatch
from shared_router.scorers.surface_features import FIRST_WORD_ID
from shared_router.training.targets import centred, source_weights, standardised

__all__ = [
    "LearnedTable",
    "TableSettings",
    "WholeNumbers",
    "distilled_table",
    "learned_table",
    "ridge",
    "teacher_scores",
    "whole_numbers",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TableSettings:
    """Chosen on validation rows and on sources left out; benchmarks/README.md has what else was tried.

    Attributes:
        dimensions: Length of the token vectors.
        epochs: Passes over the training texts.
        batch: Texts per step.
        table_rate: Adam's step size for the table.
        head_rate: Adam's step size for the directions and biases.
        stay: Weight of the squared distance between the table and its start.
        shrink: Weight of the squared length of the directions.
        teacher_weight: Weight of the teacher's scores against the outcomes themselves.
        teacher_ridge: Penalty of the teacher's ridge regression, per row.
        seed: Of the order of the texts.
    """

    dimensions: int = 64
    epochs: int = 6
    batch: int = 128
    table_rate: float = 1e-3
    head_rate: float = 4e-3
    stay: float = 1.0
    shrink: float = 3e-3
    teacher_weight: float = 6.0
    teacher_ridge: float = 3e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LearnedTable:
    """Token vectors, already weighted, and the hard direction.

    Attributes:
        vectors: Shape (vocabulary, d).
        direction: Shape (d,).
    """

    vectors: Floats
    direction: Floats


@dataclass(frozen=True, slots=True)
class WholeNumbers:
    """The same in small integers; the overall scale is lost, which the standardisation afterwards makes up for.

    Attributes:
        table: Shape (vocabulary, d).
        direction: Shape (d,).
    """

    table: npt.NDArray[np.int8]
    direction: npt.NDArray[np.int32]


def token_weights(vocabulary_size: int, *, smooth: float = 1e-3, other: float = 0.3) -> Floats:
    """Smooth inverse frequency a/(a + p) (Arora et al. 2017), with Zipf's law for p: BERT lists words by frequency.

    Args:
        vocabulary_size: Number of tokens.
        smooth: The a of the formula.
        other: Weight of punctuation, letters and digits, which the list does not order.

    Returns:
        Shape (vocabulary_size,), in (0, 1].
    """
    place = np.arange(vocabulary_size) - FIRST_WORD_ID + 1
    frequency = 1.0 / np.maximum(place, 1)
    frequency /= frequency.sum()
    return np.where(place >= 1, smooth / (smooth + frequency), other)


def distilled_table(token_vectors: Floats, dimensions: int) -> Floats:
    """Principal components of the encoder's token vectors, strong ones damped by the root of their deviation.

    Args:
        token_vectors: Shape (vocabulary, D).
        dimensions: How many components to keep, ≤ D.

    Returns:
        Shape (vocabulary, dimensions), mean square 1.
    """
    around = token_vectors - token_vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(around, full_matrices=False)
    parts = around @ axes[:dimensions].T
    parts /= np.sqrt(parts.std(axis=0))
    result: Floats = parts / np.sqrt((parts**2).mean())
    return result


def ridge(features: Floats, target: Floats, weight: Floats, penalty: float) -> Floats:
    """Weighted ridge regression without intercept.

    Args:
        features: Shape (n, d), centred.
        target: Shape (n,), centred.
        weight: Shape (n,).
        penalty: Per row: it is multiplied by n.

    Returns:
        Coefficients, shape (d,).
    """
    weighted = features * weight[:, None]
    matrix = features.T @ weighted + penalty * len(target) * np.eye(features.shape[1])
    return np.linalg.solve(matrix, weighted.T @ target)


def teacher_scores(sentence_vectors: Floats, target: Floats, sources: npt.NDArray[np.str_], penalty: float) -> Floats:
    """The teacher's guess of the target on the training texts, standardised within each source.

    Args:
        sentence_vectors: Shape (n, D).
        target: Standardised within each source, shape (n,).
        sources: Shape (n,).
        penalty: Of the ridge regression.

    Returns:
        Shape (n,).
    """
    features = centred(sentence_vectors, sources)
    features /= features.std() * np.sqrt(features.shape[1])
    weights = ridge(features, target, source_weights(sources), penalty)
    return standardised(features @ weights, sources)


def learned_table(
    start: Floats,
    batch: TokenBatch,
    targets: Floats,
    sources: npt.NDArray[np.str_],
    settings: TableSettings,
    advance: Callable[[int], None] | None = None,
) -> LearnedTable:
    """Train table and directions.

    Args:
        start: From ``distilled_table``, shape (vocabulary, d).
        batch: Tokens of the n training texts.
        targets: What the texts shall score, shape (n, 2): outcomes, and the teacher's guess.
        sources: Source of each text, shape (n,): each has its own bias, so that only differences within it count.
        settings: Sizes and rates.
        advance: Told after each step, for a progress bar.

    Returns:
        The table with the token weights multiplied in, and the direction of the first target.
    """
    import torch

    generator = np.random.default_rng(settings.seed)
    kind = torch.float32
    anchor, weight = torch.tensor(start, dtype=kind), torch.tensor(token_weights(len(start)), dtype=kind)
    wanted, rows = torch.tensor(targets, dtype=kind), torch.tensor(source_weights(sources)[:, None], dtype=kind)
    importance = torch.tensor([1.0, settings.teacher_weight], dtype=kind)
    _, source = np.unique(sources, return_inverse=True)
    place = torch.tensor(source.ravel())
    table = torch.nn.Parameter(anchor.clone())
    head = torch.nn.Parameter(torch.zeros(start.shape[1], targets.shape[1]))
    bias = torch.nn.Parameter(torch.zeros(int(place.max()) + 1, targets.shape[1]))
    optimiser = torch.optim.Adam(
        [{"params": [table], "lr": settings.table_rate}, {"params": [head, bias], "lr": settings.head_rate}]
    )
    ends = np.cumsum(batch.counts)
    texts = [torch.tensor(batch.ids[end - count : end]) for end, count in zip(ends, batch.counts, strict=True)]
    for _ in range(settings.epochs):
        for chosen in np.array_split(generator.permutation(len(texts)), max(len(texts) // settings.batch, 1)):
            ids = torch.cat([texts[i] for i in chosen])
            starts = torch.tensor(np.cumsum(batch.counts[chosen]) - batch.counts[chosen])
            sums = torch.nn.functional.embedding_bag(ids, table, starts, mode="sum", per_sample_weights=weight[ids])
            scores = 3.0 * torch.nn.functional.normalize(sums, dim=1) @ head + bias[place[chosen]]
            loss = ((scores - wanted[chosen]) ** 2 * importance * rows[chosen]).mean()
            seen = torch.unique(ids)
            loss = loss + settings.shrink * (head**2).sum() + settings.stay * ((table[seen] - anchor[seen]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if advance:
                advance(1)
    vectors = (table * weight[:, None]).detach().double().numpy()
    return LearnedTable(vectors, head.detach().double().numpy()[:, 0])


def whole_numbers(learned: LearnedTable) -> WholeNumbers:
    """Round a learned table to int8 and its direction to int32.

    The step is set by the 99.9th percentile of the absolute values: the few larger ones are cut, all others get finer.

    Args:
        learned: Any scale.
    """
    step = float(np.quantile(np.abs(learned.vectors), 0.999)) / 127.0
    table = np.clip(np.round(learned.vectors / step), -127, 127).astype(np.int8)
    direction = np.round(learned.direction / np.abs(learned.direction).max() * 32767.0).astype(np.int32)
    return WholeNumbers(table, direction)

"""Texts → clusters: what ``shared_router.experts.clusters`` serves, fitted with scikit-learn.

Expert Router's classifier (Pichlmeier et al. 2024, arXiv 2404.15153), with what it leaves open done as in c-BTM
(Gururangan et al. 2023, arXiv 2303.14177, §2.1, and its code): TF-IDF over words without stop words, numbers as one
token, truncated SVD to 100 dimensions, vectors of length 1, k-means; balanced k-means assigns by an auction, so that
each cluster has as many texts as any other and experts carry like loads on traffic like this. Serving always takes the
nearest centre, as c-BTM does: a single query has nobody to be balanced against.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from shared_router.errors import HybridError, MissingExtraError, OutcomeError
from shared_router.experts.clusters import (
    Clusters,
    EmbeddedVectors,
    TextVectors,
    WordVectors,
    squared_distances,
    word_hash,
    words_of,
)
from shared_router.scorers.query_vectors import StaticDirections
from shared_router.training.fast_heads import embedded_scorer

__all__ = ["ENCODERS", "Encoder", "balanced_assignment", "fit_clusters", "fit_vectors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Encoder: TypeAlias = Literal["words", "embedded"]

ENCODERS: tuple[Encoder, ...] = ("words", "embedded")

DIMENSIONS = 100
"""Of the paper."""

MAX_WORDS = 50_000
"""The most frequent words: 20 MB in an artifact."""

RESTARTS = 4
"""Of k-means; the best one is kept."""

BALANCING_ROUNDS = 20
"""Of c-BTM's balanced k-means at most."""

PRECISION = 1e-3
"""Of an auction: how far from the optimum each text may end, as a share of the largest squared distance."""

BIDDING_ROUNDS = 20_000


def fit_clusters(
    texts: Sequence[str],
    count: int = 16,
    *,
    encoder: Encoder = "words",
    balanced: bool = False,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
    vectors: TextVectors | None = None,
) -> Clusters:
    """Cluster texts.

    Args:
        texts: n texts; no labels are needed.
        count: Clusters k, 1 ≤ k ≤ n.
        encoder: "words" for the paper's vectors, "embedded" for those of the embedded router.
        balanced: Each cluster takes at most ⌈n / k⌉ of the texts it is fitted on.
        dimensions: Of the words' vectors, at most; ignored for "embedded".
        seed: Same texts and seed, same clusters.
        vectors: From ``fit_vectors`` on the same texts, to fit several numbers of clusters on one; None to fit them.

    Raises:
        HybridError: An unknown encoder.
        OutcomeError: Too few texts for so many clusters, or texts without words.
        MissingExtraError: scikit-learn is not installed.
    """
    made = fit_vectors(texts, encoder=encoder, dimensions=dimensions, seed=seed) if vectors is None else vectors
    rows = made.vectors(texts)
    rows = rows[rows.any(axis=1)]
    different = len(np.unique(rows, axis=0))
    if not 1 <= count <= different:
        raise OutcomeError(f"{different} different texts make at most as many clusters, got {count}")
    means = _library("sklearn.cluster").KMeans(n_clusters=count, n_init=RESTARTS, random_state=seed)
    centres: Floats = means.fit(rows).cluster_centers_.astype(np.float64)
    if balanced:
        centres = _balanced_centres(rows, centres)
    return Clusters(made, centres.astype(np.float32))


def fit_vectors(
    texts: Sequence[str], *, encoder: Encoder = "words", dimensions: int = DIMENSIONS, seed: int = 0
) -> TextVectors:
    """The vectors in which texts are clustered; see ``fit_clusters``."""
    if encoder == "embedded":
        return EmbeddedVectors(StaticDirections(embedded_scorer().encoder))
    if encoder != "words":
        raise HybridError(f"encoder is one of {', '.join(ENCODERS)}, got {encoder!r}")
    library = _library("sklearn.feature_extraction.text")
    stop_words = library.ENGLISH_STOP_WORDS

    def content_words(text: str) -> list[str]:
        return [word for word in words_of(text) if word not in stop_words]

    # a word that stands in one text only tells nothing of another
    least = 2 if len(texts) > 2 * dimensions else 1
    counter = library.TfidfVectorizer(analyzer=content_words, min_df=least, max_features=MAX_WORDS)
    try:
        counts = counter.fit_transform(texts)
    except ValueError as error:  # scikit-learn's for a vocabulary without words
        raise OutcomeError(f"the texts have no words to cluster them by ({error}); use encoder='embedded'") from error
    width = min(dimensions, counts.shape[1] - 1, counts.shape[0] - 1)
    if width < 1:
        raise OutcomeError("the texts have too few words to cluster them by; use encoder='embedded'")
    reduced = _library("sklearn.decomposition").TruncatedSVD(n_components=width, random_state=seed).fit(counts)
    # vector = (counts × idf) · componentsᵀ up to length, hence one row a word
    table = (counter.idf_[:, None] * reduced.components_.T).astype(np.float32)
    hashes = np.array([word_hash(word) for word in counter.get_feature_names_out()], dtype=np.uint64)
    order = np.argsort(hashes)
    return WordVectors(hashes[order], table[order])


def _library(name: str) -> Any:
    # by name, and when first needed: importing this module costs nothing, and who lacks the extra is told which it is
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError('fitting clusters needs scikit-learn: pip install "hybrid-llm[train]"') from error


def _balanced_centres(rows: Floats, centres: Floats) -> Floats:
    assigned: Ints | None = None
    for _ in range(BALANCING_ROUNDS):
        before, assigned = assigned, balanced_assignment(squared_distances(rows, centres))
        if before is not None and (before == assigned).all():
            break
        for cluster in range(len(centres)):
            if (mine := assigned == cluster).any():
                centres[cluster] = rows[mine].mean(axis=0)
    return centres


def balanced_assignment(cost: Floats, *, precision: float = PRECISION) -> Ints:
    """Each of n texts to one of k clusters, none with more than ⌈n / k⌉, at a low total cost.

    The forward auction for similar objects (Bertsekas and Castañon 1989, "The auction algorithm for the transportation
    problem"): a text without a place bids for the cluster that is worth most to it at the current prices, up to where
    its second best would be as good, plus ε; a full cluster keeps its highest bids, and its price is the lowest of
    them. All texts without a place bid at once.

    Args:
        cost: Squared distances, finite, shape (n, k).
        precision: ε as a share of the largest difference of costs; the total is within n · ε of the least possible.

    Returns:
        Cluster of each text, shape (n,).

    Raises:
        OutcomeError: The bids do not settle: costs that are not finite.
    """
    n, k = cost.shape
    if k == 1:
        return np.zeros(n, dtype=np.int64)
    room = -(-n // k)
    epsilon = max(float(np.ptp(cost)) * precision, 1e-12)
    price, bid = np.zeros(k), np.zeros(n)
    place = np.full(n, -1, dtype=np.int64)
    for _ in range(BIDDING_ROUNDS):
        homeless = np.flatnonzero(place < 0)
        if not homeless.size:
            return place
        worth = -cost[homeless] - price
        best = worth.argmax(axis=1)
        two = np.partition(worth, k - 2, axis=1)[:, k - 2 :]
        place[homeless] = best
        bid[homeless] = price[best] + two[:, 1] - two[:, 0] + epsilon
        for cluster in np.unique(best).tolist():
            members = np.flatnonzero(place == cluster)
            if len(members) >= room:
                order = members[np.argsort(-bid[members], kind="stable")]
                place[order[room:]] = -1
                price[cluster] = bid[order[room - 1]]
    raise OutcomeError("texts could not be assigned to balanced clusters; their distances are not finite")

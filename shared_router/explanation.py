"""Why a query has the difficulty that it has: what moved the score, and the labelled queries that are most like it.

**What moved the score**, in one of two ways:

    exact       for the linear scorers of an artifact (``static_difficulty``, ``hashed_linear``): the raw score is a
                sum, and each of its terms belongs to a word, to a pair of neighbouring words, or to a sign of the whole
                text such as its length. With the intercept they add up to the score.
    occlusion   for every other router: each word is left out in turn, and the change of the difficulty is its
                contribution. These do not add up: two words that say the same may both seem idle.

Exact is exact about the formula, and says what the score is made of; occlusion says what would change. Where the length
of a text or the direction of its token sum counts, both differ: leaving out a word makes the text shorter and turns the
direction.

**Similar queries.** An artifact holds no text, so that neighbours come from a file of labelled prompts that the user
passes; they are nearest by the direction of the embedded encoder's token sums.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from shared_router.artifact import Artifact
from shared_router.calibration import LogisticCalibrator
from shared_router.errors import HybridError
from shared_router.query import query_text
from shared_router.records import JSON, Turn
from shared_router.router import Router, RouterLike, as_router

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from shared_router.encoders.static import StaticEncoder
    from shared_router.scorers import Scorer
    from shared_router.scorers.hashed_linear import HashedLinearScorer
    from shared_router.scorers.static_difficulty import StaticDifficultyScorer
    from shared_router.tables.labeled import LabeledPrompts

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["MAX_WORDS", "NEIGHBOURS", "Contribution", "Explanation", "Neighbour", "explain", "words_of"]

Kind: TypeAlias = Literal["word", "pair", "sign"]

MAX_WORDS = 64
"""Different words that occlusion leaves out at most; each costs one score."""

NEIGHBOURS = 5

SIGNS = {
    "length": "length of the text",
    "stem_chars": "length of the question",
    "numbers": "numbers",
    "commas": "commas",
    "quantity_words": "words of quantity (each, total, …)",
    "sentences": "sentences",
    "condition_words": "words of condition (if, given, …)",
    "code_words": "words of code (function, list, …)",
    "mean_rarity": "rarity of the words",
    "continuation_share": "words split into pieces",
    "capitals": "capitals",
}
"""What a whole text shows, by the names of ``surface_features`` → as people read it. Each counts from the mean of the
training texts: a text that is shorter than they are moves the score down by its length."""

_CONTINUES = "##"
"""How WordPiece marks a token that goes on with a word."""

_UNKNOWN = "[UNK]"

_LONE_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC")
"""Scripts without spaces, of which each sign counts as a word."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one part of a query did to its score.

    Attributes:
        name: A word or two neighbouring words as the router reads them (lower case), or a sign's title.
        kind: "word", "pair" or "sign".
        value: In the explanation's unit; above 0 = towards the large model.
    """

    name: str
    kind: Kind
    value: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled query that is like the one explained.

    Attributes:
        prompt: What was asked.
        similarity: Cosine of the directions, in [−1, 1].
        small: Mean quality of the small model's answers.
        large: Mean quality of the large model's.
    """

    prompt: str
    similarity: float
    small: float
    large: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a query has its difficulty.

    Attributes:
        router_id: Which router.
        difficulty: In [0, 1].
        method: "exact" or "occlusion".
        unit: Of the contributions. "log odds" of the difficulty: exact, with a logistic calibration. "raw score":
            exact, with another calibration, a rising curve from the raw score to the difficulty. "difficulty":
            occlusion.
        score: The whole in that unit: what contributions and intercept add up to if exact.
        intercept: The part that belongs to nothing in the query; for occlusion 0.
        contributions: The largest first, by size.
        statement: The method in a sentence.
        left_out: Different words that were not looked at, as there were too many.
        neighbours: The most similar labelled query first; empty without labelled prompts.
    """

    router_id: str
    difficulty: float
    method: Literal["exact", "occlusion"]
    unit: Literal["log odds", "raw score", "difficulty"]
    score: float
    intercept: float
    contributions: tuple[Contribution, ...]
    statement: str
    left_out: int = 0
    neighbours: tuple[Neighbour, ...] = ()

    def as_json(self) -> dict[str, JSON]:
        """The explanation as JSON values; it holds words of the query, and the neighbours' prompts."""
        return cast("dict[str, JSON]", asdict(self))


def explain(
    router: RouterLike | Artifact,
    query: str | Sequence[Turn],
    *,
    training: LabeledPrompts | None = None,
    neighbours: int = NEIGHBOURS,
    max_words: int = MAX_WORDS,
) -> Explanation:
    """Explain one query's difficulty.

    Args:
        router: A router, an artifact, its path, or "default" or None for the embedded router: exact where the scorer is
            linear. Any other, and a function, is explained by occlusion, in one call with a list of texts.
        query: A text, or the turns of a conversation.
        training: Labelled prompts among which to look for similar ones.
        neighbours: How many, ≥ 0.
        max_words: Different words that occlusion leaves out at most, ≥ 1; the first ones of the text.

    Raises:
        ArtifactError: A path that leads to no usable artifact.
        QueryError: ``query`` is neither text nor turns.
        ScoreError: The router returned no difficulty.
        HybridError: Settings out of range.
    """
    if neighbours < 0 or max_words < 1:
        raise HybridError(f"neighbours ≥ 0 and max_words ≥ 1, got {neighbours} and {max_words}")
    text = query_text(query)
    served = Router.from_artifact(router) if isinstance(router, Artifact) else as_router(router)
    scorer = served.scorer
    alike = () if training is None else _neighbours(scorer, text, training, neighbours)
    account = None if scorer is None else _account(scorer, text)
    return _occluded(served, text, max_words, alike) if account is None else _exact(served, account, text, alike)


# ── exact ──


@dataclass(frozen=True, slots=True)
class _Account:
    """A raw score as a sum: the intercept and all values.

    Attributes:
        intercept: What belongs to nothing in the query.
        values: By kind and name.
    """

    intercept: float = 0.0
    values: Mapping[tuple[Kind, str], float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return self.intercept + sum(self.values.values())

    def plus(self, other: _Account, times: float = 1.0) -> _Account:
        added = dict(self.values)
        for key, value in other.values.items():
            added[key] = added.get(key, 0.0) + times * value
        return _Account(self.intercept + times * other.intercept, added)


def _summed(entries: Iterable[tuple[Kind, str, float]], intercept: float = 0.0) -> _Account:
    values: dict[tuple[Kind, str], float] = {}
    for kind, name, value in entries:
        values[kind, name] = values.get((kind, name), 0.0) + value
    return _Account(intercept, values)


def _exact(served: Router, account: _Account, text: str, alike: tuple[Neighbour, ...]) -> Explanation:
    calibration = served.calibration
    unit: Literal["log odds", "raw score"] = "raw score"
    adds_up_to = "raw score, which the calibration turns into the difficulty by a rising curve"
    if isinstance(calibration, LogisticCalibrator):
        unit, adds_up_to = "log odds", "log odds of the difficulty"
        account = _Account(calibration.intercept).plus(account, calibration.slope)
    return Explanation(
        router_id=served.router_id,
        difficulty=float(served.difficulty([text])[0]),
        method="exact",
        unit=unit,
        score=account.total,
        intercept=account.intercept,
        contributions=_sorted(
            Contribution(SIGNS[name] if kind == "sign" else name, kind, value)
            for (kind, name), value in account.values.items()
        ),
        statement=(
            f"Exact: contributions and intercept add up to the {adds_up_to}. Signs of the whole text count from the "
            "mean of the training texts, words from nothing."
        ),
        neighbours=alike,
    )


def _sorted(contributions: Iterable[Contribution]) -> tuple[Contribution, ...]:
    moved = [one for one in contributions if one.value != 0.0]
    return tuple(sorted(moved, key=lambda one: (-abs(one.value), one.name)))


def _account(scorer: Scorer, text: str) -> _Account | None:
    """The scorer's raw score of a text as a sum; None for a scorer that is not linear."""
    from shared_router.scorers.hashed_linear import HashedLinearScorer
    from shared_router.scorers.static_difficulty import StaticDifficultyScorer

    if isinstance(scorer, StaticDifficultyScorer):
        return _account_of_static(scorer, text)
    if isinstance(scorer, HashedLinearScorer):
        return _account_of_linear(scorer, text)
    return None


def _account_of_static(scorer: StaticDifficultyScorer, text: str) -> _Account:
    import numpy as np

    from shared_router.scorers.surface_features import FEATURES

    scale = scorer.scale
    counts = scorer.counts([text])
    standard = (counts.features[0] - scale.feature_mean) / scale.feature_std / scale.surface_std
    signs: list[tuple[Kind, str, float]] = [
        ("sign", name, value) for name, value in zip(FEATURES, standard.tolist(), strict=True)
    ]
    signs.append(("sign", "length", scale.length_weight * float(scorer.length_part(counts.chars)[0])))
    weights = scorer.direction.astype(np.float64) * (scale.token_weight / scale.token_std)
    return _summed(signs).plus(_account_of_direction(scorer, text, weights))


def _account_of_direction(embedded: StaticDifficultyScorer, text: str, weights: Floats) -> _Account:
    """``weights · v / |v|`` of the token sum v, as a sum over its tokens."""
    import numpy as np

    ids, words = _stem_and_option_words(embedded, text)
    if not len(ids):
        return _Account()
    vectors = embedded.encoder.table[ids].astype(np.int64)
    total = vectors.sum(axis=0)
    length = np.sqrt(max(int((total * total).sum()), 1))
    along = (vectors @ weights / length).tolist()
    return _summed(("word", word, value) for word, value in zip(words, along, strict=True))


def _account_of_linear(scorer: HashedLinearScorer, text: str) -> _Account:
    from shared_router.scorers.text_columns import LEADING_COLUMNS, dense_columns

    weights, embedded = scorer.weights, scorer.embedded
    leading = len(LEADING_COLUMNS)
    slopes = weights.dense_weight / weights.dense_std
    columns = dense_columns(embedded, embedded.counts([text]))[0]
    terms = dict(zip(LEADING_COLUMNS, (slopes * (columns - weights.dense_mean))[:leading].tolist(), strict=True))
    # the embedded difficulty is itself a sum of signs and words, as far as it is no constant
    of_embedded = float(slopes[0])
    del terms["difficulty"]
    offset = -float(of_embedded * weights.dense_mean[0] + slopes[leading:] @ weights.dense_mean[leading:])
    account = _summed((("sign", name, value) for name, value in terms.items()), offset)
    account = account.plus(_account_of_static(embedded, text), of_embedded)
    account = account.plus(_account_of_direction(embedded, text, slopes[leading:]))
    return account.plus(_account_of_pieces(scorer, text)) if len(weights.piece_idf) else account


def _account_of_pieces(scorer: HashedLinearScorer, text: str) -> _Account:
    """The hashed part. A bucket's value is shared by all that the text has in it, each occurrence alike."""
    from shared_router.encoders.static import clipped
    from shared_router.scorers.hashed_linear import piece_values
    from shared_router.scorers.text_columns import pieces_of

    pieces = pieces_of(scorer.embedded, [text])
    weighted = piece_values(pieces, scorer.weights.piece_idf) * scorer.weights.piece_weight[pieces.buckets]
    each = dict(zip(pieces.buckets.tolist(), (weighted / pieces.counts).tolist(), strict=True))
    ids = scorer.embedded.encoder.tokens([clipped(text)]).ids
    words, place = _words(scorer.embedded.encoder, ids)
    single, pair = _buckets(ids)
    entries: list[tuple[Kind, str, float]] = [
        ("word", words[i], each[bucket]) for i, bucket in enumerate(single.tolist())
    ]
    for i, bucket in enumerate(pair.tolist()):
        inside = place[i] == place[i + 1]
        kind: Kind = "word" if inside else "pair"
        entries.append((kind, words[i] if inside else f"{words[i]} {words[i + 1]}", each[bucket]))
    return _summed(entries)


def _buckets(ids: Integers) -> tuple[Integers, Integers]:
    """Bucket of each token, shape (t,), and of each pair of neighbours, shape (t − 1,)."""
    import numpy as np

    from shared_router.encoders.static import TokenBatch
    from shared_router.scorers.text_columns import piece_counts

    # each token as a text of its own: one bucket a text, in order
    single = piece_counts(TokenBatch(ids, np.ones(len(ids), dtype=np.int64))).buckets
    pairs = max(len(ids) - 1, 0)
    both = np.column_stack([ids[:-1], ids[1:]]).ravel()
    counted = piece_counts(TokenBatch(both, np.full(pairs, 2, dtype=np.int64)))
    # a text of two tokens has three buckets, of which two are known: what their sum leaves is the pair's
    total = np.zeros(pairs, dtype=np.int64)
    np.add.at(total, counted.rows, counted.buckets * counted.counts)
    return single, total - single[:-1] - single[1:]


def _stem_and_option_words(embedded: StaticDifficultyScorer, text: str) -> tuple[Integers, list[str]]:
    """The tokens whose vectors are summed, and the word that each belongs to."""
    from shared_router.encoders.static import clipped
    from shared_router.scorers.surface_features import stem_and_options

    stem, options = stem_and_options(clipped(text))
    ids = embedded.encoder.tokens([stem, options] if options else [stem]).ids
    return ids, _words(embedded.encoder, ids)[0]


def _words(encoder: StaticEncoder, ids: Integers) -> tuple[list[str], list[int]]:
    """The word that each token belongs to, and its place among the words."""
    names = {place: token for token, place in encoder.vocabulary().items()}
    tokens = [names[i] for i in ids.tolist()]
    place: list[int] = []
    whole: list[str] = []
    for token in tokens:
        if token.startswith(_CONTINUES) and whole:
            whole[-1] += token.removeprefix(_CONTINUES)
        else:
            whole.append("(unknown)" if token == _UNKNOWN else token)
        place.append(len(whole) - 1)
    return [whole[i] for i in place], place


# ── occlusion ──


def _occluded(served: Router, text: str, max_words: int, alike: tuple[Neighbour, ...]) -> Explanation:
    words = words_of(text)
    different = list(dict.fromkeys(text[start:end].casefold() for start, end in words))
    shown = different[:max_words]
    rests = {word: _without(text, word, words) for word in shown}
    # what is left where the only word is left out is no question
    kept = [word for word in shown if rests[word]]
    whole, *without = served.difficulty([text, *(rests[word] for word in kept)]).tolist()
    left_out = len(different) - len(shown)
    first = f"; only the first {len(shown)} of {len(different)} different words were tried" if left_out else ""
    return Explanation(
        router_id=served.router_id,
        difficulty=whole,
        method="occlusion",
        unit="difficulty",
        score=whole,
        intercept=0.0,
        contributions=_sorted(
            Contribution(word, "word", whole - other) for word, other in zip(kept, without, strict=True)
        ),
        statement=(
            "Occlusion: by how much the difficulty is higher with a word than without it, each left out alone and at "
            f"all its places; these do not add up{first}."
        ),
        left_out=left_out,
        neighbours=alike,
    )


def words_of(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end.

    Args:
        text: Any string.

    Returns:
        Start and end of each run of letters, marks and digits; of scripts without spaces (Han, kana) each sign alone.
    """
    spans: list[tuple[int, int]] = []
    joins = False
    for i, sign in enumerate(text):
        if unicodedata.category(sign)[0] not in "LMN":
            joins = False
            continue
        alone = unicodedata.name(sign, "").startswith(_LONE_SCRIPTS)
        if joins and not alone:
            spans[-1] = (spans[-1][0], i + 1)
        else:
            spans.append((i, i + 1))
        joins = not alone
    return spans


def _without(text: str, word: str, words: Sequence[tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in words:
        if text[start:end].casefold() == word:
            parts.append(text[done:start].removesuffix(" "))
            done = end
    return "".join([*parts, text[done:]]).strip()


# ── similar queries ──


def _neighbours(scorer: Scorer | None, text: str, training: LabeledPrompts, count: int) -> tuple[Neighbour, ...]:
    import numpy as np

    from shared_router.scorers.static_difficulty import CHUNK
    from shared_router.scorers.text_columns import unit_vectors

    encoder = _encoder(scorer)
    direction = unit_vectors(encoder.encode([text]))[0]
    if not direction.any():
        # a text of which nothing is read is like none
        return ()
    prompts = training.prompts
    similarity = np.concatenate(
        [
            unit_vectors(encoder.encode(prompts[start : start + CHUNK])) @ direction
            for start in range(0, len(prompts), CHUNK)
        ]
    )
    nearest = (-similarity).argsort(kind="stable")[:count].tolist()
    return tuple(
        Neighbour(prompts[i], round(float(similarity[i]), 6), float(training.small[i]), float(training.large[i]))
        for i in nearest
    )


def _encoder(scorer: Scorer | None) -> StaticEncoder:
    """The router's own encoder if it has one, else the embedded default's."""
    from shared_router.scorers.static_difficulty import StaticDifficultyScorer

    for known in (getattr(scorer, "embedded", scorer), Router.default().scorer):
        if isinstance(known, StaticDifficultyScorer):
            return known.encoder
    raise HybridError("the embedded router has no static encoder")

"""Text → cluster: the served vectors are scikit-learn's, saving keeps them, nothing depends on the batch."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_router.errors import ArtifactError, ArtifactFormatError, ArtifactHashError, HybridError, OutcomeError
from shared_router.experts.clusters import NUMBER, UNKNOWN, Clusters, WordVectors, word_hash, words_of
from shared_router.experts.router import DifficultyExperts, ExpertRouter, FunctionExperts, as_expert_router
from shared_router.knob import Knob
from shared_router.testing import table_router
from shared_router.training.expert_clusters import balanced_assignment, fit_clusters, fit_vectors

TOPICS = {
    "code": ["sort a python list", "compile the rust crate", "debug a segfault in c", "join two sql tables"],
    "maths": ["integrate the sine", "prove the theorem", "solve the equation", "invert the matrix"],
    "food": ["bake sourdough bread", "roast a chicken dinner", "whisk eggs and cream", "recipe for tomato soup"],
}
TEXTS = [
    f"{one} {two} {number}"
    for texts in TOPICS.values()
    for one in texts
    for two in texts
    for number in (3, 14, 159)
    if one != two
]


@pytest.fixture(scope="module")
def clusters() -> Clusters:
    return fit_clusters(TEXTS, 3, dimensions=8)


def test_words_are_lower_case_numbers_are_one_token() -> None:
    assert words_of("Sort 3 lists, 42nd of A 12.5 naïve I") == ["sort", "lists", NUMBER, "of", NUMBER, "naïve"]
    assert words_of("\ud800 ok") == ["ok"]


def test_served_vectors_are_those_of_the_fitted_pipeline() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    def content(text: str) -> list[str]:
        return [word for word in words_of(text) if word not in ENGLISH_STOP_WORDS]

    pipeline = make_pipeline(TfidfVectorizer(analyzer=content, min_df=2), TruncatedSVD(8, random_state=0), Normalizer())
    expected = pipeline.fit(TEXTS).transform(TEXTS)
    served = fit_vectors(TEXTS, dimensions=8).vectors(TEXTS)
    np.testing.assert_allclose(served, expected, atol=1e-5)
    other = "Sort the eggs and a matrix, 7 times over"
    np.testing.assert_allclose(
        fit_vectors(TEXTS, dimensions=8).vectors([other]), pipeline.transform([other]), atol=1e-5
    )


def test_topics_become_clusters(clusters: Clusters) -> None:
    found = clusters.assign(["compile a python table", "solve a matrix equation", "bake chicken soup"])
    assert len(set(found.cluster.tolist())) == 3
    assert (found.distance > 0.0).all()


def test_a_text_does_not_depend_on_its_batch(clusters: Clusters) -> None:
    together = clusters.assign(TEXTS)
    alone = [clusters.assign([text]) for text in TEXTS]
    assert together.cluster.tolist() == [one.cluster[0] for one in alone]
    assert together.distance.tolist() == [one.distance[0] for one in alone]


@pytest.mark.parametrize("text", ["", "   ", "zzz qqq", "的", "\x00"])
def test_a_text_of_which_nothing_is_known_has_no_cluster(clusters: Clusters, text: str) -> None:
    found = clusters.assign([text])
    assert found.cluster.tolist() == [UNKNOWN]
    assert np.isnan(found.distance).all()


def test_no_texts(clusters: Clusters) -> None:
    assert clusters.assign([]).cluster.shape == (0,)


def test_same_seed_same_clusters() -> None:
    one, other = (fit_clusters(TEXTS, 3, seed=1, balanced=True) for _ in range(2))
    np.testing.assert_array_equal(one.centres, other.centres)


def test_embedded_clusters_serve_and_travel(tmp_path: Path) -> None:
    made = fit_clusters(TEXTS, 3, encoder="embedded")
    router = ExpertRouter(made, (("a", "b"), ("b", "a"), ("a",)), ("a", "b")).save(tmp_path / "experts")
    loaded = ExpertRouter.load(tmp_path / "experts")
    assert loaded.rank(TEXTS[:5]) == router.rank(TEXTS[:5])


# balance


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (40, 4), (41, 4), (97, 8), (6, 6)])
def test_balanced_assignment_is_full_and_near_the_optimum(n: int, k: int) -> None:
    from scipy.optimize import linear_sum_assignment

    cost = np.random.default_rng(n).exponential(size=(n, k)) * np.linspace(1.0, 3.0, k)
    found = balanced_assignment(cost)
    room = -(-n // k)
    assert np.bincount(found, minlength=k).max() <= room
    rows, places = linear_sum_assignment(np.repeat(cost, room, axis=1))
    least = cost[rows, places // room].sum()
    assert cost[np.arange(n), found].sum() <= least + n * 1e-3 * np.ptp(cost) + 1e-9


def test_equal_costs_are_balanced_too() -> None:
    assert np.bincount(balanced_assignment(np.zeros((30, 3)))).tolist() == [10, 10, 10]


def test_balanced_clusters_are_of_more_equal_size() -> None:
    texts = TEXTS + [
        f"whisk eggs and cream {word}" for word in ["bread", "soup", "dinner", "tomato", "roast", "bake"] * 20
    ]
    spread = []
    for balanced in (False, True):
        sizes = np.bincount(fit_clusters(texts, 4, balanced=balanced, dimensions=8).assign(texts).cluster, minlength=4)
        spread.append(sizes.max())
    assert spread[1] < spread[0]


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(OutcomeError, match="at most as many clusters"):
        fit_clusters(["sort a list", "bake a bread", "solve it all"], 9)
    with pytest.raises(OutcomeError, match="use encoder='embedded'"):
        fit_clusters(["the", "of", "and"], 2)
    with pytest.raises(HybridError, match="encoder is one of words, embedded"):
        fit_clusters(TEXTS, 2, encoder="bert")  # type: ignore[arg-type]


# the router


@pytest.fixture
def router(clusters: Clusters) -> ExpertRouter:
    return ExpertRouter.from_map(clusters, {0: "code", 1: ["maths", "code"]}, otherwise="chat")


def test_a_users_map(router: ExpertRouter, clusters: Clusters) -> None:
    assert router.experts == ("chat", "code", "maths")
    numbers = clusters.assign(TEXTS).cluster.tolist()
    for number, ranked in zip(numbers, router.rank(TEXTS), strict=True):
        assert ranked.experts == {0: ("code",), 1: ("maths", "code"), 2: ("chat",)}[number]
        assert (ranked.reason, ranked.cluster) == ("cluster", number)
    (ranked,) = router.rank(["zzz"])
    assert (ranked.experts, ranked.reason, ranked.cluster) == (router.otherwise, "unknown_text", None)


def test_a_router_travels(router: ExpertRouter, tmp_path: Path) -> None:
    saved = router.save(tmp_path / "mine")
    loaded = ExpertRouter.load(tmp_path / "mine")
    assert loaded.router_id == saved.router_id
    assert loaded.rank(TEXTS) == router.rank(TEXTS)
    assert pickle.loads(pickle.dumps(loaded)).rank(TEXTS[:3]) == router.rank(TEXTS[:3])
    assert as_expert_router(str(tmp_path / "mine")).rank(TEXTS[:3]) == router.rank(TEXTS[:3])
    names = {word for text in TEXTS for word in words_of(text)}
    (arrays,) = (tmp_path / "mine").glob("experts-*")
    stored = (tmp_path / "mine" / "experts.json").read_text() + arrays.read_bytes().decode("latin-1")
    assert not [word for word in names if len(word) > 5 and word in stored]


def test_an_expert_router_and_a_router_share_a_folder(router: ExpertRouter, tmp_path: Path) -> None:
    (tmp_path / "weights-0.safetensors").write_bytes(b"another's")
    router.save(tmp_path)
    router.save(tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["experts", "experts.json", "weights"]


def test_what_was_tampered_with_is_refused(router: ExpertRouter, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"hybrid-llm experts fit"):
        ExpertRouter.load(tmp_path)
    router.save(tmp_path)
    manifest = tmp_path / "experts.json"
    document: dict[str, Any] = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(document | {"otherwise": ["evil"]}))
    with pytest.raises(ArtifactHashError):
        ExpertRouter.load(tmp_path)
    from shared_router.sealed_folder import hash_of

    for wrong in (
        {"rankings": [["code"]]},
        {"rankings": [[1], [2], [3]]},
        {"clusters": {"vectors": "bert"}},
        {"clusters": {"vectors": "embedded"}},
        {"otherwise": []},
    ):
        changed = {**document, **wrong}
        changed.pop("content_hash")
        manifest.write_text(json.dumps({**changed, "content_hash": hash_of(changed)}))
        with pytest.raises(ArtifactFormatError, match="is damaged"):
            ExpertRouter.load(tmp_path)


def test_maps_and_vectors_that_do_not_fit_are_refused(clusters: Clusters) -> None:
    for experts, otherwise in (({7: "code"}, "chat"), ({0: []}, "chat"), ({0: 3}, "chat"), ({}, "")):
        with pytest.raises(HybridError):
            ExpertRouter.from_map(clusters, experts, otherwise=otherwise or [])  # type: ignore[arg-type]
    with pytest.raises(HybridError, match="each once"):
        ExpertRouter(clusters, (("a", "a"),) * 3, ("a",))
    with pytest.raises(HybridError, match="it lacks b"):
        ExpertRouter(clusters, (("a", "b"),) * 3, ("a",))
    with pytest.raises(ArtifactFormatError):
        Clusters(clusters.vectors, np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(ArtifactFormatError):
        WordVectors(np.array([word_hash("a")], dtype=np.uint64), np.full((1, 2), np.nan, dtype=np.float32))


def test_functions_and_difficulties_are_routers_too() -> None:
    assert FunctionExperts(lambda text: text).rank(["a"])[0].experts == ("a",)
    two = DifficultyExperts(table_router({"easy": 0.1, "hard": 0.9}), "s", "l", Knob("quality", 0.5))
    assert [one.experts for one in two.rank(["easy", "hard"])] == [("s", "l"), ("l", "s")]
    with pytest.raises(HybridError, match="got int"):
        as_expert_router(3)  # type: ignore[arg-type]

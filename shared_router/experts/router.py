"""Text → experts, best first: a cluster's ranking, the user's function, or a difficulty between two.

A trained expert router is a folder of its own kind (``shared_router.sealed_folder``):

    experts.json                          format version, vectors, rankings, metadata, content hash
    experts-<first of hash>.safetensors   the vectors' arrays and the clusters' centres
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from shared_router.errors import HybridError
from shared_router.knob import DEFAULT_KNOB, Knob
from shared_router.records import JSON
from shared_router.router import Router
from shared_router.sealed_folder import FolderKind, part_of

if TYPE_CHECKING:
    from shared_router.experts.clusters import Clusters

__all__ = [
    "DifficultyExperts",
    "ExpertRouter",
    "ExpertRouterLike",
    "FunctionExperts",
    "RankedExperts",
    "RanksExperts",
    "as_expert_router",
]

FOLDER = FolderKind(
    what="expert router",
    format="hybrid-llm-experts",
    version=1,
    manifest="experts.json",
    prefix="experts",
    way_out="train one with hybrid-llm experts fit",
)

Order: TypeAlias = "str | Sequence[str]"
"""One expert, or several, best first."""


@dataclass(frozen=True, slots=True)
class RankedExperts:
    """What a router says of one text.

    Attributes:
        experts: Best first, at least one; those that are not named come last.
        reason: Why, as ``ExpertDecision`` gives it.
        cluster: The text's cluster, if any.
        distance: From its centre.
    """

    experts: tuple[str, ...]
    reason: str
    cluster: int | None = None
    distance: float | None = None


class RanksExperts(Protocol):
    """Anything that ranks experts."""

    @property
    def router_id(self) -> str:
        """Names it in every decision."""
        ...

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts that it may name, best overall first; empty where it cannot say."""
        ...

    def rank(self, texts: Sequence[str], /) -> list[RankedExperts]:
        """The experts for each of n texts."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ExpertRouter:
    """Clusters, and who is best in each.

    Attributes:
        clusters: The classifier, of k clusters.
        rankings: Experts of each cluster, best first; k tuples of at least one.
        otherwise: Experts for a text of which nothing is known, and all that are known, best overall first.
        name: A short name for people.
        metadata: What people want to know: training data, date, figures. Not read by the code.
        content_hash: sha256 over all of the above; empty until saved or loaded.
    """

    clusters: Clusters
    rankings: tuple[tuple[str, ...], ...]
    otherwise: tuple[str, ...]
    name: str = "experts"
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    content_hash: str = ""

    def __post_init__(self) -> None:
        """Refuse rankings that do not fit the clusters."""
        if len(self.rankings) != len(self.clusters):
            raise HybridError(f"{len(self.clusters)} clusters need as many rankings, got {len(self.rankings)}")
        for where, ranking in [*enumerate(self.rankings), ("otherwise", self.otherwise)]:
            if not ranking or len(set(ranking)) < len(ranking):
                raise HybridError(f"a ranking names at least one expert, each once; {where} has {ranking!r}")
        unknown = {name for ranking in self.rankings for name in ranking} - set(self.otherwise)
        if unknown:
            raise HybridError(f"otherwise names all experts, best overall first; it lacks {', '.join(sorted(unknown))}")

    @classmethod
    def from_map(
        cls, clusters: Clusters, experts: Mapping[int, Order], *, otherwise: Order, name: str = "experts"
    ) -> ExpertRouter:
        """A router by the user's own map.

        Args:
            clusters: The classifier.
            experts: Cluster → its expert, or several, best first; clusters that are not named have ``otherwise``.
            otherwise: The same for all other clusters, and for texts of which nothing is known.
            name: A short name for people.

        Raises:
            HybridError: A cluster that does not exist, or a ranking without an expert.
        """
        strangers = [cluster for cluster in experts if cluster not in range(len(clusters))]
        if strangers:
            raise HybridError(f"clusters are numbered from 0 to {len(clusters) - 1}, got {strangers[0]!r}")
        rest = _order(otherwise)
        rankings = tuple(_order(experts.get(cluster, rest)) for cluster in range(len(clusters)))
        everybody = dict.fromkeys([*rest, *(name for ranking in rankings for name in ranking)])
        return cls(clusters, rankings, tuple(everybody), name)

    @property
    def router_id(self) -> str:
        """Name and the first of the content hash."""
        return f"{self.name}@{self.content_hash[:12] or 'unsaved'}"

    @property
    def experts(self) -> tuple[str, ...]:
        """All experts, best overall first."""
        return self.otherwise

    def rank(self, texts: Sequence[str], /) -> list[RankedExperts]:
        """The experts for each text, by its cluster.

        Args:
            texts: n texts.
        """
        from shared_router.experts.clusters import UNKNOWN  # loads numpy

        assigned = self.clusters.assign(texts)
        return [
            RankedExperts(self.otherwise, "unknown_text")
            if cluster == UNKNOWN
            else RankedExperts(self.rankings[cluster], "cluster", cluster, distance)
            for cluster, distance in zip(assigned.cluster.tolist(), assigned.distance.tolist(), strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> ExpertRouter:
        """Write the router into a folder, atomically; an expert router that lies there already is replaced.

        Args:
            path: The folder; made if it is missing.

        Returns:
            The same router with its ``content_hash``.
        """
        config, tensors = self.clusters.to_state()
        body = {
            "name": self.name,
            "clusters": config,
            "rankings": [list(ranking) for ranking in self.rankings],
            "otherwise": list(self.otherwise),
            "metadata": dict(self.metadata),
        }
        return replace(self, content_hash=FOLDER.save(path, body, tensors))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExpertRouter:
        """Read an expert router and check that it is whole.

        Args:
            path: The folder, or its ``experts.json``.

        Raises:
            ArtifactError: The folder is missing, foreign, damaged, tampered with, or of a newer format.
        """
        from shared_router.experts.clusters import Clusters  # loads numpy

        found = FOLDER.load(path)
        try:
            return cls(
                clusters=Clusters.from_state(part_of(found.document, "clusters", dict), found.tensors),
                rankings=tuple(_names(ranking) for ranking in part_of(found.document, "rankings", list)),
                otherwise=_names(part_of(found.document, "otherwise", list)),
                name=part_of(found.document, "name", str),
                metadata=part_of(found.document, "metadata", dict),
                content_hash=found.content_hash,
            )
        except (KeyError, TypeError, ValueError, HybridError) as error:
            raise FOLDER.damaged(FOLDER.manifest_at(path), f"{type(error).__name__}: {error}") from error


def _names(ranking: object) -> tuple[str, ...]:
    if not isinstance(ranking, list) or not all(isinstance(name, str) for name in ranking):
        raise TypeError(f"a ranking is a list of names, got {ranking!r:.80}")
    return tuple(ranking)


def _order(order: object) -> tuple[str, ...]:
    names = (order,) if isinstance(order, str) else order
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise HybridError(f"an expert's name, or a list of names, best first, got {order!r:.80}")
    return tuple(dict.fromkeys(names))


# classes, not closures, so that a router pickles (LlamaIndex' IngestionPipeline sends its models to worker processes)
@dataclass(frozen=True, slots=True)
class FunctionExperts:
    """A user's function as a router.

    Attributes:
        function: Text → an expert's name, or several, best first.
    """

    function: Callable[[str], Order]

    @property
    def router_id(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def experts(self) -> tuple[str, ...]:
        """Nobody knows before it is called."""
        return ()

    def rank(self, texts: Sequence[str], /) -> list[RankedExperts]:
        """What the function says of each text.

        Raises:
            HybridError: It returned no names.
        """
        return [RankedExperts(_order(self.function(text)), "router") for text in texts]


@dataclass(frozen=True, slots=True)
class DifficultyExperts:
    """The case of two: a difficulty, a knob, and the two experts between which they decide, as HybridChatModel does.

    Attributes:
        router: The difficulty and its curve.
        small: The expert that answers what is easy.
        large: The expert that answers what is hard.
        knob: The wish; ``route`` for no routing.
    """

    router: Router
    small: str
    large: str
    knob: Knob = DEFAULT_KNOB

    @property
    def router_id(self) -> str:
        """The difficulty router's."""
        return self.router.router_id

    @property
    def experts(self) -> tuple[str, ...]:
        """The large one first: it is the better of the two, whatever it costs."""
        return (self.large, self.small)

    def rank(self, texts: Sequence[str], /) -> list[RankedExperts]:
        """The chosen one and then the other.

        Raises:
            KnobError: The router cannot grant the knob.
        """
        names = {"small": (self.small, self.large), "large": (self.large, self.small)}
        decisions = self.router.route_many(list(texts), [self.knob] * len(texts))
        return [RankedExperts(names[decision.target], decision.reason) for decision in decisions]


ExpertRouterLike: TypeAlias = "RanksExperts | Callable[[str], Order] | str | os.PathLike[str]"
"""What the plug-ins take as ``router``: anything that ranks, a function, or the path of a trained router."""


def as_expert_router(router: ExpertRouterLike) -> RanksExperts:
    """The router that is meant.

    Raises:
        ArtifactError: A path that leads to no usable expert router.
        HybridError: Something else.
    """
    if isinstance(router, str | os.PathLike):
        return ExpertRouter.load(router)
    if callable(getattr(router, "rank", None)):
        return cast("RanksExperts", router)
    if callable(router):
        return FunctionExperts(router)
    raise HybridError(
        "router is a folder written by hybrid-llm experts fit, an ExpertRouter, or a function from a text to an "
        f"expert's name, got {type(router).__name__}"
    )

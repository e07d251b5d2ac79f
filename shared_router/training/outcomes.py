"""Outcome tables on disk → arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shared_router.errors import OutcomeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcomes", "outcomes_from", "read_outcomes"]

COLUMNS = ["task", "query_id", "query", "model", "quality", "sample", "group", "overlap", "split"]

MEAN_SAMPLE = -1
"""Where a query was asked several times, this sample number holds the success rate."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """All models' marks on n queries of one source.

    Attributes:
        source: The table's name.
        texts: The queries, length n.
        tasks: Task of each query, shape (n,), str.
        groups: Hash of the normalised question; equal in every table where the question stands, shape (n,), str.
        overlap: True where the question also stands in a benchmark that must stay unseen, shape (n,).
        split: "train", "validation", "test" or "benchmark", shape (n,), str.
        models: Names of the m models.
        quality: Marks, usually in [0, 1], NaN where a model was not asked, shape (n, m).
    """

    source: str
    texts: tuple[str, ...]
    tasks: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    overlap: npt.NDArray[np.bool_]
    split: npt.NDArray[np.str_]
    models: tuple[str, ...]
    quality: npt.NDArray[np.float64]

    def marks(self, model: str) -> npt.NDArray[np.float64]:
        """One model's marks, shape (n,).

        Raises:
            OutcomeError: The table has no such model.
        """
        if model not in self.models:
            raise OutcomeError(f"{self.source} has no model {model!r} (there are: {', '.join(self.models)})")
        return self.quality[:, self.models.index(model)]

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Outcomes:
        """The same for some of the queries.

        Args:
            chosen: Which, shape (n,).
        """
        return Outcomes(
            self.source,
            tuple(text for text, keep in zip(self.texts, chosen, strict=True) if keep),
            self.tasks[chosen],
            self.groups[chosen],
            self.overlap[chosen],
            self.split[chosen],
            self.models,
            self.quality[chosen],
        )


def read_outcomes(folder: Path, source: str) -> Outcomes:
    """One outcome table.

    Args:
        folder: Where the tables lie.
        source: The table's name without ending.

    Raises:
        OutcomeError: There is no such table, or it lacks columns.
    """
    import pandas as pd

    path = folder / f"{source}.parquet"
    if not path.is_file():
        raise OutcomeError(f"no outcome table at {path}; pass the folder that holds the .parquet files")
    try:
        frame = pd.read_parquet(path, columns=COLUMNS)
    except (ValueError, KeyError) as error:
        raise OutcomeError(
            f"{path} is no outcome table, it needs the columns {', '.join(COLUMNS)} ({error})"
        ) from error
    return outcomes_from(frame, source)


def outcomes_from(frame: pd.DataFrame, source: str) -> Outcomes:
    """Arrays from a long table, one row per query and model.

    Args:
        frame: Has at least ``COLUMNS``. Of several samples the success rate (sample −1) counts, where there is one.
        source: The table's name.

    Raises:
        OutcomeError: The table is empty.
    """
    if frame.empty:
        raise OutcomeError(f"{source} has no rows")
    if (frame["sample"] == MEAN_SAMPLE).any():
        frame = frame[frame["sample"] == MEAN_SAMPLE]
    key = ["task", "query_id"]
    quality = frame.pivot_table(index=key, columns="model", values="quality", aggfunc="mean")
    facts = frame.drop_duplicates(key).set_index(key).loc[quality.index]
    named = facts["overlap"].astype("object")
    return Outcomes(
        source=source,
        texts=tuple(facts["query"].astype(str)),
        # "@test" marks the rows that its publisher held back; the task is the same
        tasks=np.array([str(task).removesuffix("@test") for task in quality.index.get_level_values("task")]),
        groups=facts["group"].astype(str).to_numpy(dtype=np.str_),
        overlap=(named.notna() & (named != "")).to_numpy(dtype=np.bool_),
        split=facts["split"].astype(str).to_numpy(dtype=np.str_),
        models=tuple(str(model) for model in quality.columns),
        quality=quality.to_numpy(dtype=np.float64),
    )

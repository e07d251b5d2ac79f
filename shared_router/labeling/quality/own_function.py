"""A function of one's own: ``(prompt, response, reference) -> float``.

This is the only code of this step that is not the project's: it is the user's, named by the user, and imported as any
module is.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from shared_router.errors import OutcomeError
from shared_router.labeling.quality.measure import Answers, Judging, Quality, judged_in_batches
from shared_router.records import JSON
from shared_router.tables.outcomes import Outcome

__all__ = ["OwnFunction", "Score"]

Score = Callable[[str, str, JSON], "float | None"]
"""Prompt, response and reference (as the file has it, None where there is none) → quality; None = no opinion."""


@dataclass(frozen=True)
class OwnFunction:
    """Qualities by a function of one's own.

    Attributes:
        function: A callable, or where it is to be found: "module:function".
    """

    function: str | Score
    name: ClassVar[str] = "function"
    quality_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    needs_reference: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    @cached_property
    def version(self) -> str:
        """The hash of the file that defines it, or of its source: what is judged is judged anew once that changes."""
        try:
            source = Path(inspect.getsourcefile(self._call) or "").read_text(encoding="utf-8")
        except (OSError, TypeError, UnicodeDecodeError):
            source = repr(getattr(getattr(self._call, "__code__", None), "co_code", ""))
        return hashlib.sha256(source.encode()).hexdigest()[:12]

    def settings(self) -> Mapping[str, JSON]:
        """The function's name."""
        call = self._call
        where = f"{getattr(call, '__module__', '')}:{getattr(call, '__qualname__', type(call).__name__)}"
        return {"function": self.function if isinstance(self.function, str) else where}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        """Judge prompts; see ``Measure``.

        Raises:
            OutcomeError: There is no such function.
        """
        return judged_in_batches(
            prompts, lambda answers: [self._quality(answer) for answer in answers], answers_at_once=1
        )

    def _quality(self, answer: Outcome) -> Quality:
        name = self.settings()["function"]
        try:
            value: object = self._call(answer.prompt, answer.response, answer.reference)
        except Exception as error:
            return Quality(None, fault=f"{name} raised {type(error).__name__}: {error}")
        if value is None:
            return Quality(None, notes=("the function gave no quality",))
        try:
            return Quality(float(value))  # type: ignore[arg-type]  # what has no float() is refused below
        except (TypeError, ValueError):
            return Quality(None, fault=f"{name} gave {value!r:.40}, no number")

    @cached_property
    def _call(self) -> Score:
        if not isinstance(self.function, str):
            return self.function
        module_name, _, name = self.function.partition(":")
        if not module_name or not name:
            raise OutcomeError(f'a function is named as "module:function", got {self.function!r}')
        try:
            call = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise OutcomeError(
                f"{self.function} cannot be imported ({error}); the module lies in the folder that you run the command "
                "in, or is installed"
            ) from error
        if not callable(call):
            raise OutcomeError(f"{self.function} is no function but of type {type(call).__name__}")
        found: Score = call
        return found

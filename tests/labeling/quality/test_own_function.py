"""A function of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.labeling.quality.measure import qualities
from shared_router.labeling.quality.own_function import OwnFunction
from shared_router.records import JSON
from shared_router.tables.outcomes import Outcome

Make = Callable[..., Outcome]


def contains(prompt: str, response: str, reference: JSON) -> bool:
    return str(reference) in response


def test_gets_prompt_response_and_reference_as_they_are(answer: Make) -> None:
    seen: list[tuple[str, str, JSON]] = []

    def score(prompt: str, response: str, reference: JSON) -> float:
        seen.append((prompt, response, reference))
        return 0.25

    assert qualities(OwnFunction(score), [answer("r", reference={"a": 1}, prompt="p")]).tolist() == [0.25]
    assert seen == [("p", "r", {"a": 1})]


def test_truth_values_and_numpys_numbers_count(answer: Make) -> None:
    assert qualities(OwnFunction(contains), [answer("x lima", reference="lima")]).tolist() == [1.0]
    assert qualities(OwnFunction(lambda *_: np.float32(0.5)), [answer()]).tolist() == [0.5]
    assert np.isnan(qualities(OwnFunction(lambda *_: None), [answer()])).all()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda *_: float("nan"), "the quality is nan"),
        (lambda *_: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda *_: "good", "gave 'good', no number"),
        (lambda: 1.0, "raised TypeError"),
    ],
)
def test_what_is_no_quality_is_said(function: Callable[..., float], said: str, answer: Make) -> None:
    with pytest.raises(OutcomeError, match=said):
        qualities(OwnFunction(function), [answer()])


def test_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Make) -> None:
    module = tmp_path / "my_own_quality.py"
    module.write_text("def half(prompt, response, reference):\n    return 0.5\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = OwnFunction("my_own_quality:half")
    assert qualities(found, [answer()]).tolist() == [0.5]
    assert found.settings() == {"function": "my_own_quality:half"}
    first = found.version
    assert OwnFunction("my_own_quality:half").version == first
    module.write_text(module.read_text().replace("0.5", "0.75"))
    sys.modules.pop("my_own_quality")
    assert OwnFunction("my_own_quality:half").version != first
    for name, said in [
        ("my_own_quality:none", "cannot be imported"),
        ("no_such_module_of_mine:f", "cannot be imported"),
        ("my_own_quality:number", "is no function but of type int"),
        ("half", "named as"),
    ]:
        with pytest.raises(OutcomeError, match=said):
            qualities(OwnFunction(name), [answer()])

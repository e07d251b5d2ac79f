"""Collected answers → judged answers → labels: what is written, kept, counted, and refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_router.errors import OutcomeError
from shared_router.labeling.judged import LabelReport, judge_outcomes, judged_path
from shared_router.labeling.judgements import appended, part_of
from shared_router.labeling.quality.exact_match import EXACT_MATCH
from shared_router.labeling.quality.measure import Answers, Given, Judging, Quality, judged_in_batches
from shared_router.labeling.quality.numeric import NUMERIC
from shared_router.labeling.quality.own_function import OwnFunction
from shared_router.labeling.quality.rouge_l import ROUGE_L
from shared_router.tables.labeled import read_labeled
from shared_router.tables.outcomes import read_outcomes


def row(id: str, target: str, response: str = "", sample: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": id, "prompt": f"prompt {id}", "target": target, "sample": sample, "response": response, **more}


def written(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("\n".join(part if isinstance(part, str) else json.dumps(part) for part in rows))
    return path


def given(path: Path, qualities: dict[str, tuple[list[float], list[float]]]) -> Path:
    """Outcomes with these qualities by prompt: the small model's, the large model's."""
    return written(
        path,
        (
            row(id, target, quality=quality, sample=sample)
            for id, both in qualities.items()
            for target, values in zip(("small", "large"), both, strict=True)
            for sample, quality in enumerate(values)
        ),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    rows = [
        row("1", "small", "lima", reference="Lima", cost_usd=0.1, columns={"group": "a", "language": "qu"}),
        row("1", "small", "cusco", 1, reference="Lima", cost_usd=0.3, columns={"group": "a", "language": "qu"}),
        row("1", "large", "Lima!", reference="Lima", cost_usd=1.0, columns={"group": "a", "language": "qu"}),
        row("2", "large", "x", reference=["y", "z"]),
        row("2", "small", "z", reference=["y", "z"]),
    ]
    return written(tmp_path / "outcomes.jsonl", rows)


def test_both_files_are_written(outcomes: Path, tmp_path: Path) -> None:
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "out" / "l.jsonl")
    assert lines(report.file) == [
        {
            "prompt": "prompt 1",
            "small_quality": [1.0, 0.0],
            "large_quality": [1.0],
            "label_det": 1.0,
            "label_prob": 0.5,
            "label_trans": 0.5,
            "id": "1",
            "group": "a",
            "language": "qu",
            "small_cost": 0.2,
            "large_cost": 1.0,
        },
        {
            "prompt": "prompt 2",
            "small_quality": [1.0],
            "large_quality": [0.0],
            "label_det": 1.0,
            "label_prob": 1.0,
            "label_trans": 1.0,
            "id": "2",
        },
    ]
    assert report.judging.file == tmp_path / "out" / "l.judged-exact_match.jsonl"
    judged = read_outcomes(report.judging.file).rows
    assert [outcome.quality for outcome in judged] == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert [outcome.key for outcome in judged] == [outcome.key for outcome in read_outcomes(outcomes).rows]
    assert lines(report.judging.file)[0]["judged_by"] == {"name": "exact_match", "version": "1"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["l.jsonl", "l.judged-exact_match.jsonl"]
    labeled = read_labeled(report.file)
    assert labeled.small_samples == ((1.0, 0.0), (1.0,))
    assert labeled.columns["group"] == ("a", None)
    assert labeled.columns["label_prob"] == (0.5, 1.0)


def test_the_report_counts(outcomes: Path, tmp_path: Path) -> None:
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    assert (report.prompts, report.judging.newly_judged, report.judging.unjudged) == (2, 5, 0)
    assert report.answers == {"small": {1: 1, 2: 1}, "large": {1: 2}}
    assert report.mean_quality == {"small": 0.75, "large": 0.5}
    assert report.histograms["label_prob"] == (0, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert report.histograms["label_det"] == (0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
    assert report.means == {"label_det": 1.0, "label_prob": 0.75, "label_trans": 0.75}
    assert report.prob_zero == 0.0
    assert "all qualities are 0 or 1" in report.collapsed


def test_parquet_in_and_out(outcomes: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{**part, "columns": part.get("columns", {"language": None})} for part in lines(outcomes)]
    for part in rows:
        part["reference"] = part["reference"] if isinstance(part["reference"], list) else [part["reference"]]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "o.parquet")
    report = judge_outcomes(tmp_path / "o.parquet", EXACT_MATCH, tmp_path / "l.parquet")
    labeled = read_labeled(report.file)
    assert labeled.small_samples == ((1.0, 0.0), (1.0,))
    assert labeled.columns["label_prob"] == (0.5, 1.0)
    assert labeled.columns["language"] == ("qu", None)
    again = judge_outcomes(tmp_path / "o.parquet", EXACT_MATCH, tmp_path / "l.parquet")
    assert again.judging.reused == 5


def test_a_column_that_parquet_cannot_hold_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [
        row(str(i), target, quality=1, columns={"mixed": "a" if i else 1})
        for i in range(2)
        for target in ("small", "large")
    ]
    path = written(tmp_path / "o.jsonl", rows)
    with pytest.raises(OutcomeError, match=r"values of column mixed together .*write \.jsonl"):
        judge_outcomes(path, Given(), tmp_path / "l.parquet")
    assert not (tmp_path / "l.parquet").exists()


class Counting:
    """Judges by the length of an answer, counts what it judges, and fails on the answer "stop"."""

    name = "counting"
    version = "1"
    quality_range = (0.0, math.inf)
    needs_reference = False
    compares = False

    def __init__(self, *, compares: bool = False) -> None:
        self.compares = compares
        self.seen: list[str] = []

    def settings(self) -> dict[str, Any]:
        return {}

    def judged(self, prompts: Iterable[Answers]) -> Judging:
        def judge(answers: Any) -> list[Quality]:
            if any(answer.response == "stop" for answer in answers):
                raise KeyboardInterrupt
            self.seen += [answer.response for answer in answers]
            return [Quality(float(len(answer.response)), ("seen",)) for answer in answers]

        return judged_in_batches(prompts, judge, answers_at_once=1)


def test_what_is_judged_stays_judged(tmp_path: Path) -> None:
    rows = [row(str(i), target, f"{target} {i}") for i in range(5) for target in ("small", "large")]
    path = written(tmp_path / "o.jsonl", [*rows[:6], row("3", "small", "stop"), *rows[7:]])
    with pytest.raises(KeyboardInterrupt):
        judge_outcomes(path, Counting(), tmp_path / "l.jsonl")
    part = part_of(judged_path(tmp_path / "l.jsonl", Counting()))
    assert len(lines(part)) == 6
    assert not (tmp_path / "l.jsonl").exists()
    assert not judged_path(tmp_path / "l.jsonl", Counting()).exists()
    written(path, rows)
    second = Counting()
    report = judge_outcomes(path, second, tmp_path / "l.jsonl")
    assert second.seen == ["small 3", "large 3", "small 4", "large 4"]
    assert (report.judging.reused, report.judging.newly_judged) == (6, 4)
    assert report.judging.notes == {"seen": 4}
    assert not part.exists()
    third = Counting()
    written(path, [*rows, row("1", "small", "new", 1), *(row("5", target, "more") for target in ("small", "large"))])
    assert judge_outcomes(path, third, tmp_path / "l.jsonl").prompts == 6
    assert third.seen == ["new", "more", "more"]


def test_a_changed_answer_or_reference_is_judged_anew(outcomes: Path, tmp_path: Path) -> None:
    judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    outcomes.write_text(outcomes.read_text().replace('"cusco"', '"lima"'))
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    assert (report.judging.reused, report.judging.newly_judged) == (4, 1)
    assert report.mean_quality["small"] == 1.0
    outcomes.write_text(outcomes.read_text().replace('["y", "z"]', '["x"]'))
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    assert (report.judging.reused, report.mean_quality["small"]) == (3, 0.5)


def test_a_measure_that_compares_gets_whole_prompts(tmp_path: Path) -> None:
    rows = [row(str(i), target, f"{target} {i}") for i in range(2) for target in ("small", "large")]
    path = written(tmp_path / "o.jsonl", rows)
    judge_outcomes(path, Counting(compares=True), tmp_path / "l.jsonl")
    written(path, [*rows, row("1", "small", "new", 1)])
    second = Counting(compares=True)
    assert judge_outcomes(path, second, tmp_path / "l.jsonl").judging.reused == 2
    assert second.seen == ["small 1", "large 1", "new"]


def test_judgements_of_answers_that_are_not_in_the_file_are_kept(outcomes: Path, tmp_path: Path) -> None:
    judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    all_rows = outcomes.read_text()
    written(outcomes, all_rows.splitlines()[:3])
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    assert (report.prompts, len(lines(report.judging.file))) == (1, 5)
    outcomes.write_text(all_rows)
    assert judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl").judging.reused == 5


def test_another_measures_work_is_not_overwritten(outcomes: Path, tmp_path: Path) -> None:
    judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", judged=tmp_path / "j.jsonl")
    before = (tmp_path / "j.jsonl").read_bytes()
    with pytest.raises(OutcomeError, match=r'j\.jsonl, line 1: judged by .*exact_match.*"rouge_l".*--judged'):
        judge_outcomes(outcomes, ROUGE_L, tmp_path / "l.jsonl", judged=tmp_path / "j.jsonl")
    assert (tmp_path / "j.jsonl").read_bytes() == before
    report = judge_outcomes(outcomes, ROUGE_L, tmp_path / "l.jsonl", judged=tmp_path / "j.jsonl", again=True)
    assert report.judging.measure["name"] == "rouge_l"


def test_a_broken_file_of_judgements_is_named(outcomes: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "j.jsonl", ["{broken"])
    with pytest.raises(OutcomeError, match=r"j\.jsonl, line 1: not JSON"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", judged=path)
    written(path, [row("1", "small", quality="good", judged_by={"name": "exact_match", "version": "1"})])
    with pytest.raises(OutcomeError, match=r"line 1: quality is a number"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", judged=path)
    written(path, [row("1", "small", quality=1)])
    with pytest.raises(OutcomeError, match=r"line 1: no value for judged_by"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", judged=path)


def test_rows_are_appended_after_what_a_kill_left_of_one_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    part_of(file).write_bytes(b'{"a": 1}\n{"b": ')
    with appended(file) as append:
        append([{"c": 3}, {"text": "é \udc80"}])
    assert part_of(file).read_bytes() == '{"a": 1}\n{"c": 3}\n{"text": "é \\udc80"}\n'.encode()
    part_of(file).write_bytes(b'{"b": ')
    with appended(file):
        pass
    assert not part_of(file).exists()


def test_prompts_without_answers_of_both_models_are_counted(tmp_path: Path) -> None:
    rows = [
        row("1", "small", quality=1),
        row("1", "large", quality=1),
        row("2", "small", quality=1),
        row("3", "large", quality=1),
        row("4", "small", quality=None),
        row("4", "large", quality=1),
    ]
    report = judge_outcomes(written(tmp_path / "o.jsonl", rows), Given(), tmp_path / "l.jsonl")
    assert report.prompts == 1
    assert report.incomplete == {
        "no answer of the large model": 1,
        "no answer of the small model": 1,
        "no answer of the small model has a quality": 1,
    }
    assert report.judging.notes == {"no quality given": 1}
    assert report.judging.unjudged == 1


def test_without_any_complete_prompt_it_is_said_why(tmp_path: Path) -> None:
    path = written(tmp_path / "o.jsonl", [row("1", "small"), row("2", "large")])
    why = (
        r"no prompt of .* \(2 × no quality given; 1 × no answer of the large model; 1 × no answer of the small model\)"
    )
    with pytest.raises(OutcomeError, match=why):
        judge_outcomes(path, Given(), tmp_path / "l.jsonl")
    assert not (tmp_path / "l.jsonl").exists()
    with pytest.raises(OutcomeError, match="it has no row"):
        judge_outcomes(written(tmp_path / "e.jsonl", []), Given(), tmp_path / "l.jsonl")


def labels(tmp_path: Path, qualities: dict[str, tuple[list[float], list[float]]], **more: Any) -> LabelReport:
    return judge_outcomes(given(tmp_path / "o.jsonl", qualities), Given(), tmp_path / "l.jsonl", **more)


def test_a_large_gap_needs_the_transformed_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    level = draw.normal(0, 1, 200)
    report = labels(
        tmp_path,
        {
            str(i): ((level[i] - 4 + draw.normal(0, 0.3, 10)).tolist(), draw.normal(0, 0.3, 10).tolist())
            for i in range(200)
        },
    )
    assert report.prob_zero > 0.9
    assert report.prob_spread < 0.05
    assert report.spread > 0.4
    assert report.collapsed == ""
    assert 3.0 < report.t < 5.0
    assert report.grid[0] == 0.0
    assert len(report.grid) == 50
    assert sum(report.histograms["label_prob"][:1]) > 180
    assert report.histograms["label_trans"][0] < 120
    assert all(len(counts) == 10 and sum(counts) == 200 for counts in report.histograms.values())


@pytest.mark.parametrize(
    ("qualities", "why"),
    [
        ({"1": ([0, 1], [1, 1]), "2": ([1, 1], [1, 0])}, "all qualities are 0 or 1: a t below 1"),
        ({"1": ([0.5], [0.25]), "2": ([1], [1])}, "no answer of the large model is better"),
        ({"1": ([0], [1]), "2": ([0.5], [0.25])}, "spread most where nothing is conceded"),
    ],
)
def test_why_the_transformed_labels_collapse(
    tmp_path: Path, qualities: dict[str, tuple[list[float], list[float]]], why: str
) -> None:
    report = labels(tmp_path, qualities)
    assert why in report.collapsed
    assert report.t == 0.0
    assert report.spread == report.prob_spread
    assert report.histograms["label_trans"] == report.histograms["label_prob"]


def test_a_quality_that_is_no_number_stops_or_is_counted(outcomes: Path, tmp_path: Path) -> None:
    measure = OwnFunction(lambda prompt, response, reference: float("nan") if response == "cusco" else 1.0)
    with pytest.raises(OutcomeError, match=r"function, id '1', small model, sample 1: the quality is nan.*--skip-bad"):
        judge_outcomes(outcomes, measure, tmp_path / "l.jsonl")
    report = judge_outcomes(outcomes, measure, tmp_path / "l.jsonl", skip_bad=True)
    assert report.judging.unjudged == 1
    assert report.judging.faults == (
        "id '1', small model, sample 1: the quality is nan, which is no number to compare",
    )
    assert report.answers["small"] == {1: 2}
    assert lines(report.judging.file)[1]["quality"] is None


def test_answers_without_a_reference_stop_before_anything_is_judged_or_are_counted(tmp_path: Path) -> None:
    rows = [row(str(i), target, "1", reference="1" if i else None) for i in range(2) for target in ("small", "large")]
    path = written(tmp_path / "o.jsonl", rows)
    with pytest.raises(OutcomeError, match=r"2 of 4 answers have none \(id '0', small model, sample 0 is the first\)"):
        judge_outcomes(path, NUMERIC, tmp_path / "l.jsonl")
    assert list(tmp_path.iterdir()) == [path]
    report = judge_outcomes(path, NUMERIC, tmp_path / "l.jsonl", skip_bad=True)
    assert (report.prompts, len(report.judging.faults), report.judging.unjudged) == (1, 2, 2)


def test_bad_rows_stop_or_are_reported(outcomes: Path, tmp_path: Path) -> None:
    outcomes.write_text(outcomes.read_text() + "\n{broken")
    with pytest.raises(OutcomeError, match="line 6: not JSON"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl")
    report = judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", skip_bad=True)
    assert len(report.judging.skipped) == 1


def test_two_prompts_under_one_id_are_found_before_anything_is_judged(tmp_path: Path) -> None:
    rows = [row("1", "small"), {**row("1", "large"), "prompt": "another"}]
    measure = Counting()
    with pytest.raises(OutcomeError, match="different prompts"):
        judge_outcomes(written(tmp_path / "o.jsonl", rows), measure, tmp_path / "l.jsonl")
    assert measure.seen == []


def test_files_that_cannot_be(outcomes: Path, tmp_path: Path) -> None:
    for out, judged, said in [
        ("l.csv", None, r"the ending says the format; use one of \.jsonl"),
        ("l.jsonl", "j.parquet", "written as .jsonl"),
        ("outcomes.jsonl", None, "must be different files"),
        ("l.jsonl", "l.jsonl", "must be different files"),
        ("l.jsonl", "outcomes.jsonl", "must be different files"),
    ]:
        with pytest.raises(OutcomeError, match=said):
            judge_outcomes(outcomes, EXACT_MATCH, tmp_path / out, judged=judged and tmp_path / judged)
    with pytest.raises(OutcomeError, match="at least 2 points"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", grid_points=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutcomeError, match="cannot be written"):
        judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "file" / "l.jsonl")


def test_columns_of_ours_are_not_replaced_by_the_users(tmp_path: Path) -> None:
    rows = [row("1", target, quality=1, columns={"label_det": 7, "topic": "x"}) for target in ("small", "large")]
    report = judge_outcomes(written(tmp_path / "o.jsonl", rows), Given(), tmp_path / "l.jsonl")
    assert report.left_out == ("label_det",)
    (labeled,) = lines(report.file)
    assert (labeled["label_det"], labeled["topic"]) == (1.0, "x")


def test_progress_is_told(outcomes: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    judge_outcomes(outcomes, EXACT_MATCH, tmp_path / "l.jsonl", advance=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]

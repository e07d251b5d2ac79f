"""Audits on prompts whose router is known to be fair or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared_router.errors import KnobError, OutcomeError, ScoreError
from shared_router.evaluation.audit import (
    MIN_GROUP,
    Audit,
    AuditedPrompts,
    ColumnAudit,
    Disparity,
    Routed,
    audit,
    audit_groups,
    audited_prompts,
    csv_rows,
)
from shared_router.evaluation.text_groups import given_column
from shared_router.knob import Knob

KNOB = Knob("threshold", 0.5)


def report(
    routed: Routed, columns: dict[str, list[object]], *, permutations: int = 999, resamples: int = 500, seed: int = 0
) -> Audit:
    given = [given_column(name, values) for name, values in columns.items()]
    return audit_groups(
        routed, given, router_id="r", knob=KNOB, permutations=permutations, resamples=resamples, seed=seed
    )


def answer(column: ColumnAudit, question: str) -> Disparity:
    return next(one for one in column.disparities if one.question == question)


def world(
    sizes: dict[str, int], *, to_small: dict[str, float], short: dict[str, float], seed: int = 0
) -> tuple[Routed, list[object]]:
    """Groups with a chance of the small model and, independent of it, a chance that it falls short by 1."""
    generator = np.random.default_rng(seed)
    group = [name for name, size in sizes.items() for _ in range(size)]
    small_share = np.array([to_small[name] for name in group])
    falls = generator.random(len(group)) < np.array([short[name] for name in group])
    chosen = generator.random(len(group)) < small_share
    large = np.ones(len(group))
    return Routed(chosen, np.where(chosen, 0.2, 0.8), np.where(falls, 0.0, 1.0), large), list(group)


def test_the_figures_of_a_small_table_are_right() -> None:
    routed = Routed(
        to_small=np.array([True, True, False, False]),
        difficulty=np.array([0.1, 0.2, 0.6, 0.9]),
        small=np.array([1.0, 0.0, 0.0, 1.0]),
        large=np.array([1.0, 1.0, 1.0, 0.5]),
    )
    found = report(routed, {"g": ["a", "a", "b", "b"]})
    everything = found.overall
    assert everything.harm is not None
    assert (everything.n, everything.rate.share, everything.difficulty) == (4, 0.5, pytest.approx(0.45))
    assert (everything.harm.small_quality, everything.harm.large_quality) == (0.5, 0.875)
    assert everything.harm.routed_quality == 0.625
    assert everything.harm.loss.estimate == 0.25
    assert everything.harm.drop is not None
    assert everything.harm.drop.estimate == pytest.approx(0.25 / 0.875)
    assert (everything.harm.if_short, everything.harm.if_as_good) != (None, None)
    a, b = found.columns[0].groups
    assert (a.name, b.name, a.n) == ("a", "b", 2)
    assert a.harm is not None
    assert b.harm is not None
    assert a.harm.if_short is not None
    assert (a.harm.if_short.small, a.harm.if_short.of) == (1, 1)
    assert b.harm.if_as_good is not None
    assert (b.harm.if_as_good.small, b.harm.if_as_good.of) == (0, 1)
    assert (a.harm.varies, b.harm.varies) == (True, False)


def test_a_loss_is_negative_where_the_small_model_is_better() -> None:
    routed = Routed(np.array([True, False]), np.zeros(2), np.array([1.0, 1.0]), np.array([0.5, 0.5]))
    harm = report(routed, {"g": ["a", "a"]}).overall.harm
    assert harm is not None
    assert harm.loss.estimate == -0.25
    assert harm.drop is not None
    assert harm.drop.estimate == -0.5
    assert harm.if_short is None


def test_a_drop_is_relative_to_the_size_of_negative_qualities() -> None:
    # log-likelihoods
    routed = Routed(np.array([True, True]), np.zeros(2), np.array([-3.0, -3.0]), np.array([-2.0, -2.0]))
    harm = report(routed, {"g": ["a", "a"]}).overall.harm
    assert harm is not None
    assert harm.drop is not None
    assert harm.drop.estimate == 0.5


def test_without_quality_of_the_large_model_there_is_no_relative_drop() -> None:
    routed = Routed(np.array([True, True]), np.zeros(2), np.zeros(2), np.zeros(2))
    harm = report(routed, {"g": ["a", "a"]}).overall.harm
    assert harm is not None
    assert harm.drop is None
    assert harm.loss.estimate == 0.0


def test_resamples_without_quality_of_the_large_model_are_left_out_of_the_drop() -> None:
    routed = Routed(np.array([True, True]), np.zeros(2), np.zeros(2), np.array([1.0, 0.0]))
    harm = report(routed, {"g": ["a", "a"]}).overall.harm
    assert harm is not None
    assert harm.drop is not None
    assert (harm.drop.low, harm.drop.estimate, harm.drop.high) == (1.0, 1.0, 1.0)
    assert (harm.loss.low, harm.loss.high) == (0.0, 1.0)


def test_the_bootstrap_interval_of_a_loss_has_its_known_width() -> None:
    generator = np.random.default_rng(0)
    short = generator.random(400) < 0.2
    routed = Routed(np.ones(400, dtype=np.bool_), np.zeros(400), np.where(short, 0.0, 1.0), np.ones(400))
    harm = report(routed, {"g": ["a"] * 400}, resamples=4000).overall.harm
    assert harm is not None
    share = short.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert harm.loss.low == pytest.approx(share - half, abs=0.006)
    assert harm.loss.high == pytest.approx(share + half, abs=0.006)
    assert harm.drop == harm.loss


def test_continuous_qualities_are_resampled_too() -> None:
    generator = np.random.default_rng(0)
    small, large = generator.normal(0.5, 0.1, 3000), generator.normal(0.7, 0.1, 3000)
    routed = Routed(np.ones(3000, dtype=np.bool_), np.zeros(3000), small, large)
    harm = report(routed, {"g": ["a"] * 3000}, resamples=300).overall.harm
    assert harm is not None
    half = 1.96 * np.std(large - small) / np.sqrt(3000)
    assert harm.loss.high - harm.loss.low == pytest.approx(2 * half, rel=0.2)


def test_a_harmed_group_is_found_and_named() -> None:
    routed, group = world({"en": 300, "hi": 120}, to_small={"en": 0.3, "hi": 0.8}, short={"en": 0.2, "hi": 0.4}, seed=1)
    found = report(routed, {"language": group})
    column = found.columns[0]
    assert found.harmed
    for question in ("share", "loss", "if_short", "if_as_good"):
        one = answer(column, question)
        assert one.differs
        assert (one.lowest, one.highest, one.groups) == ("en", "hi", 2)
        assert one.difference is not None
        assert one.difference > 0.1
    share = answer(column, "share")
    assert share.large_ratio == pytest.approx((1 - share.high) / (1 - share.low))
    assert "HARM" in " ".join(column.verdict)
    assert "four fifths" in column.verdict[0]
    assert "(hi)" in column.verdict[0]


def test_unequal_shares_without_harm_are_told_apart_from_harm() -> None:
    routed, group = world({"en": 300, "hi": 300}, to_small={"en": 0.3, "hi": 0.8}, short={"en": 0.0, "hi": 0.0}, seed=1)
    found = report(routed, {"language": group})
    assert answer(found.columns[0], "share").differs
    assert not found.harmed
    assert "no unequal loss" in " ".join(found.columns[0].verdict)
    assert answer(found.columns[0], "if_short").p is None


def test_groups_with_other_questions_and_a_fair_router_keep_equal_odds() -> None:
    # the router sends what is hard to the large model with one error rate: shares differ, odds do not
    generator = np.random.default_rng(4)
    group = ["law"] * 400 + ["chat"] * 400
    falls = generator.random(800) < np.repeat([0.7, 0.2], 400)
    to_small = np.where(falls, generator.random(800) < 0.1, generator.random(800) < 0.9)
    routed = Routed(to_small, np.zeros(800), np.where(falls, 0.0, 1.0), np.ones(800))
    column = report(routed, {"topic": list(group)}).columns[0]
    assert answer(column, "share").differs
    assert not answer(column, "if_short").differs
    assert not answer(column, "if_as_good").differs


def test_among_equal_groups_no_column_is_called_different_more_often_than_stated() -> None:
    generator = np.random.default_rng(9)
    rounds, alarms = 120, {"share": 0, "loss": 0, "if_short": 0, "if_as_good": 0}
    for seed in range(rounds):
        everyone = {"all": 240}
        routed, _ = world(everyone, to_small={"all": 0.4}, short={"all": 0.3}, seed=seed)
        columns = {
            "two": list(generator.integers(0, 2, 240)),
            "five": list(generator.integers(0, 5, 240)),
            "uneven": list((generator.random(240) < 0.12).astype(int)),
        }
        columns = {name: [int(value) for value in values] for name, values in columns.items()}
        found = report(routed, columns, permutations=199, resamples=1, seed=seed)
        for question in alarms:
            alarms[question] += any(answer(column, question).differs for column in found.columns)
    # 5 % of 120 rounds are 6, with a standard deviation of 2.4
    assert max(alarms.values()) <= 13, alarms


def test_p_values_are_corrected_over_the_columns_that_were_tested() -> None:
    routed, group = world({"a": 60, "b": 60}, to_small={"a": 0.35, "b": 0.6}, short={"a": 0.3, "b": 0.3}, seed=3)
    alone = answer(report(routed, {"g": group}).columns[0], "share")
    assert alone.corrected == alone.p
    assert alone.columns == 1
    with_others = report(routed, {"g": group, "same": [1] * 120, "other": [i % 2 for i in range(120)]})
    share = answer(with_others.columns[0], "share")
    assert share.columns == 2
    assert share.p is not None
    assert share.corrected is not None
    assert share.corrected >= share.p
    assert "corrected for 2 columns" in with_others.columns[0].verdict[0]


def test_small_groups_are_reported_and_not_tested() -> None:
    sizes = {"en": 50, "hi": 40, "rare": MIN_GROUP - 1, "one": 1}
    same = dict.fromkeys(sizes, 0.5)
    routed, group = world(sizes, to_small={**same, "rare": 1.0}, short=same)
    column = report(routed, {"language": group}).columns[0]
    assert [(one.name, one.tested) for one in column.groups] == [
        ("en", True),
        ("hi", True),
        ("rare", False),
        ("one", False),
    ]
    assert column.groups[2].rate.share == 1.0
    assert answer(column, "share").groups == 2
    assert answer(column, "share").highest != "rare"
    assert "2 of 4 groups have fewer than 20 prompts" in column.verdict[-1]


def test_where_no_two_groups_are_large_enough_it_is_said() -> None:
    routed, group = world({"en": 50, "hi": 5}, to_small={"en": 0.5, "hi": 0.5}, short={"en": 0.5, "hi": 0.5})
    found = report(routed, {"language": group})
    share = answer(found.columns[0], "share")
    assert (share.p, share.corrected, share.differs, share.low, share.difference) == (None, None, False, None, None)
    assert found.columns[0].verdict == ("Nothing was tested, as fewer than two groups have 20 prompts.",)
    assert not found.harmed


def test_same_seed_same_report_and_order_of_columns_kept() -> None:
    routed, group = world({"a": 40, "b": 40}, to_small={"a": 0.4, "b": 0.6}, short={"a": 0.3, "b": 0.4})
    columns = {"z": group, "a": list(reversed(group))}
    first, second = report(routed, columns), report(routed, columns)
    assert first == second
    assert [column.name for column in first.columns] == ["z", "a"]
    assert report(routed, columns, seed=1) != first


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"small": np.array([np.nan, 0.0]), "large": np.ones(2)}, "small has 1 values that are NaN"),
        ({"small": np.ones(2)}, "both models or of none"),
        ({"small": np.ones(3), "large": np.ones(3)}, "one shape"),
        ({"to_small": np.zeros(0, dtype=np.bool_), "difficulty": np.zeros(0)}, "n ≥ 1"),
        ({"difficulty": np.array([0.5, np.inf])}, "difficulty has 1 values"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(OutcomeError, match=said):
        Routed(**{"to_small": np.ones(2, dtype=np.bool_), "difficulty": np.zeros(2), **changed})


def test_settings_out_of_range_are_refused() -> None:
    routed = Routed(np.ones(2, dtype=np.bool_), np.zeros(2))
    with pytest.raises(OutcomeError, match="level"):
        audit_groups(routed, [], router_id="r", knob=KNOB, level=1.0)
    with pytest.raises(OutcomeError, match="'g' is of 3 prompts, and 2 were routed"):
        report(routed, {"g": [1, 2, 3]})


# ── from a file, through a router ──


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def by_length(text: str) -> float:
    return min(len(text) / 40, 1.0)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = []
    for i in range(120):
        pro = i % 2 == 1
        row: dict[str, object] = {"prompt": f"secret {i:03} {'x' * 40 * pro}", "tier": "pro" if pro else "free"}
        rows.append({**row, "small_quality": i % 3 > 0, "large_quality": [1, 1]})
    return lines(tmp_path / "labelled.jsonl", rows)


def test_a_file_is_routed_as_the_router_does(labelled: Path) -> None:
    prompts = audited_prompts(labelled)
    found = audit(prompts, by_length, Knob("threshold", 0.6), by=["tier"], detect=["script"])
    free, pro = found.columns[0].groups
    assert (free.name, free.rate.share, pro.rate.share) == ("free", 1.0, 0.0)
    assert pro.difficulty == 1.0
    assert found.harmed
    assert answer(found.columns[0], "share").large_ratio == 0.0
    assert [column.name for column in found.columns] == ["tier", "script (detected)"]
    assert found.router_id == "by_length"


def test_no_prompt_is_in_any_output(labelled: Path) -> None:
    found = audit(audited_prompts(labelled), by_length, KNOB, by=["tier"], detect=["length", "code", "form", "script"])
    text = json.dumps(found.as_json(), allow_nan=False)
    assert "secret" not in text + repr(found) + repr(csv_rows(found))
    assert json.loads(text)["columns"][0]["groups"][0]["name"] == "free"


def test_the_flat_table_has_a_row_a_group(labelled: Path) -> None:
    found = audit(audited_prompts(labelled), by_length, KNOB, by=["tier"])
    rows = csv_rows(found)
    assert [(row["column"], row["group"], row["n"]) for row in rows] == [
        ("", "all", 120),
        ("tier", "free", 60),
        ("tier", "pro", 60),
    ]
    assert rows[1]["small_share"] == 1.0
    assert rows[1]["small_share_if_short_of"] == 20
    assert len({tuple(row) for row in rows}) == 1


def test_prompts_without_qualities_are_audited_for_shares_alone(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"p {i % 7}", "tier": i % 2} for i in range(60)]
    prompts = audited_prompts(lines(tmp_path / "p.jsonl", rows))
    # traffic counts each call, also where it repeats one
    assert len(prompts.prompts) == 60
    assert prompts.small is None
    found = audit(prompts, by_length, KNOB, by=["tier"])
    assert [one.question for one in found.columns[0].disparities] == ["share"]
    assert found.columns[0].groups[0].harm is None
    assert "drop" not in csv_rows(found)[0]
    json.dumps(found.as_json(), allow_nan=False)


def test_one_row_without_quality_among_labelled_ones_is_an_error_or_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "a", "g": 1}, {"prompt": "b", "small_quality": 1, "large_quality": 1}]
    path = lines(tmp_path / "p.jsonl", rows)
    with pytest.raises(OutcomeError, match="line 1: no value for small_quality"):
        audited_prompts(path)
    prompts = audited_prompts(path, skip_bad=True)
    assert (prompts.prompts, len(prompts.skipped)) == (("b",), 1)
    assert dict(prompts.columns) == {}


def test_nan_quality_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "small_quality": NaN, "large_quality": 1}')
    with pytest.raises(OutcomeError, match="line 1: small_quality is nan"):
        audited_prompts(path)


def test_broken_and_empty_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("{broken\n")
    with pytest.raises(OutcomeError, match="line 1: not JSON"):
        audited_prompts(path)
    with pytest.raises(OutcomeError, match="no usable row"):
        audited_prompts(path, skip_bad=True)
    path.write_text('{"text": "a"}\n')
    with pytest.raises(OutcomeError, match="no value for prompt"):
        audited_prompts(path)


def test_unknown_columns_are_refused_with_a_hint(labelled: Path) -> None:
    prompts = audited_prompts(labelled)
    with pytest.raises(OutcomeError, match=r"no column 'teir'; did you mean 'tier'\? \(there are: tier\)"):
        audit(prompts, by_length, KNOB, by=["teir"])
    with pytest.raises(OutcomeError, match="no column 'prompt'"):
        audit(prompts, by_length, KNOB, by=["prompt"])
    with pytest.raises(OutcomeError, match="which groups to compare"):
        audit(prompts, by_length, KNOB)


def test_a_forced_route_leaves_nothing_to_audit(labelled: Path) -> None:
    with pytest.raises(KnobError, match="route"):
        audit(audited_prompts(labelled), by_length, Knob("route", "small"), by=["tier"])


def test_a_router_that_fails_is_told(labelled: Path) -> None:
    with pytest.raises(ScoreError):
        audit(audited_prompts(labelled), lambda text: float("nan"), KNOB, by=["tier"])


def test_the_embedded_router_is_audited_without_more_ado() -> None:
    prompts = AuditedPrompts(("What is 2 + 2?", "秘鲁的首都是哪里？"), {})
    found = audit(prompts, detect=["script"])
    assert [group.name for group in found.columns[0].groups] == ["Han", "Latin"]

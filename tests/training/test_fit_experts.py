"""Outcomes → whom each cluster goes to, and whether that pays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shared_router.cli.commands import app
from shared_router.errors import OutcomeError
from shared_router.experts.router import ExpertRouter
from shared_router.tables.answers import answers_from
from shared_router.tables.expert_outcomes import ExpertOutcomes, expert_outcomes
from shared_router.training.fit_experts import (
    best_single,
    cluster_means,
    compared_systems,
    expert_map,
    fit_experts,
)

WORDS = {"code": "python rust compile debug", "maths": "integral theorem equation matrix"}


def world(n: int = 300, *, apart: float = 0.5, seed: int = 0) -> ExpertOutcomes:
    """Two kinds of prompts, and an expert for each who is better there by ``apart``; the third is cheap and poor."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(0, 2, n)
    words = [text.split() for text in WORDS.values()]
    prompts = [" ".join([*generator.choice(words[one], 6), str(row)]) for row, one in enumerate(kind)]
    chance = np.full((n, 3), 0.4)
    chance[np.arange(n), kind] += apart
    chance[:, 2] = 0.2
    quality = (generator.random((n, 3)) < chance).astype(np.float64)
    cost = np.tile([2.0, 2.0, 1.0], (n, 1))
    return ExpertOutcomes(tuple(prompts), ("code", "maths", "cheap"), quality, cost, np.arange(n))


def test_means_are_shrunk_by_how_little_is_known() -> None:
    cluster = np.array([0, 0, 1, -1])
    values = np.array([[1.0], [1.0], [0.0], [0.0]])
    np.testing.assert_allclose(cluster_means(cluster, values, 3, 0.0), [[1.0], [0.0], [0.5]])
    np.testing.assert_allclose(cluster_means(cluster, values, 3, 2.0), [[0.75], [1.0 / 3.0], [0.5]])
    np.testing.assert_allclose(cluster_means(cluster, values, 3, 1e12), [[0.5]] * 3)
    with pytest.raises(OutcomeError, match="shrinkage"):
        cluster_means(cluster, values, 3, -1.0)


def test_each_cluster_goes_to_its_best_and_ties_to_the_cheaper() -> None:
    cluster = np.repeat([0, 1], 100)
    quality = np.zeros((200, 3))
    quality[:100, 0] = quality[100:, 1] = 1.0
    found = expert_map(cluster, quality, np.ones((200, 3)), 2)
    assert found.rankings[:, 0].tolist() == [0, 1]
    tied = expert_map(cluster, np.ones((200, 3)), np.tile([3.0, 1.0, 2.0], (200, 1)), 2)
    assert tied.rankings.tolist() == [[1, 2, 0], [1, 2, 0]]
    assert tied.overall.tolist() == [1, 2, 0]
    free = expert_map(cluster, quality, np.zeros((200, 3)), 2)
    assert free.rankings[:, 0].tolist() == [0, 1]


def test_a_small_cluster_follows_the_others() -> None:
    cluster = np.array([0] * 200 + [1] * 3)
    quality = np.zeros((203, 2))
    quality[:200, 0] = 1.0
    quality[200:, 1] = 1.0
    cost = np.ones((203, 2))
    assert expert_map(cluster, quality, cost, 2).rankings[:, 0].tolist() == [0, 0]
    assert expert_map(cluster, quality, cost, 2, shrinkage=0.0).rankings[:, 0].tolist() == [0, 1]


def test_the_budget_is_kept_and_spent_where_it_gains_most() -> None:
    cluster = np.repeat([0, 1], 500)
    quality = np.zeros((1000, 2))
    quality[:500, 1], quality[500:, 1] = 0.9, 0.5  # the second costs more, and gains more in the first cluster
    cost = np.tile([1.0, 3.0], (1000, 1))
    assert expert_map(cluster, quality, cost, 2, budget=2.1).rankings[:, 0].tolist() == [1, 0]
    assert expert_map(cluster, quality, cost, 2, budget=3.0).rankings[:, 0].tolist() == [1, 1]
    assert expert_map(cluster, quality, cost, 2, budget=1.0).rankings[:, 0].tolist() == [0, 0]
    with pytest.raises(OutcomeError, match="too small"):
        expert_map(cluster, quality, cost, 2, budget=0.9)


def test_never_below_the_best_single_one_on_what_it_learned_from() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        cluster, quality = generator.integers(0, 4, 200), generator.random((200, 3))
        cost = np.tile(generator.random(3), (200, 1))
        single = best_single(quality, cost)
        chosen = expert_map(cluster, quality, cost, 4).rankings[cluster, 0]
        rows = np.arange(200)
        assert cost[rows, chosen].mean() <= cost[:, single].mean() * 1.02
        assert quality[rows, chosen].mean() >= quality[:, single].mean() - 0.02


def test_experts_that_differ_pay_and_experts_that_do_not_do_not() -> None:
    pays = fit_experts(world(), clusters=4, seed=1)
    assert pays.verdict == "better"
    assert "pays" in pays.advice
    assert {name for name, share in pays.shares.items() if share > 0.3} == {"code", "maths"}
    same = fit_experts(world(apart=0.0), clusters=4, seed=1)
    assert same.verdict == "does_not_pay"
    assert "does not pay" in same.advice
    assert f"use {same.single} for everything" in same.advice


def half_as_good() -> ExpertOutcomes:
    """The cheap one is as good as any in one half of the prompts, and useless in the other."""
    outcomes = world(800)
    quality = np.repeat(outcomes.quality[:, :2].max(axis=1, keepdims=True), 3, axis=1)
    is_code = np.array([prompt.split()[0] in WORDS["code"].split() for prompt in outcomes.prompts])
    quality[~is_code, 2] = 0.0
    return ExpertOutcomes(outcomes.prompts, outcomes.experts, quality, outcomes.cost, outcomes.groups)


def test_what_is_as_good_for_less_pays_too() -> None:
    report = fit_experts(half_as_good(), clusters=2, budget=1.6)
    assert report.verdict == "cheaper"
    assert "cheaper than" in report.advice


def test_what_is_better_than_a_mix_at_its_cost_pays_at_that_cost() -> None:
    outcomes = half_as_good()
    quality = outcomes.quality.copy()
    quality[::4, 2] = 0.0
    report = fit_experts(
        ExpertOutcomes(outcomes.prompts, outcomes.experts, quality, outcomes.cost, outcomes.groups),
        clusters=2,
        budget=1.6,
    )
    assert report.verdict == "better_at_its_cost"
    assert "if its cost is what you want to spend" in report.advice


def test_the_oracle_and_guessing_are_what_they_are() -> None:
    outcomes = world(200)
    chosen = outcomes.quality.argmax(axis=1)
    systems = {one.name: one for one in compared_systems(outcomes, outcomes, chosen, 0)}
    assert systems["oracle"].quality == pytest.approx(outcomes.quality.max(axis=1).mean())
    assert systems["expert router"].quality == systems["oracle"].quality
    assert systems["oracle"].cost <= systems["expert router"].cost
    assert systems["random expert"].quality == pytest.approx(outcomes.quality.mean())


def test_groups_stay_on_one_side_and_too_little_is_refused() -> None:
    outcomes = world(120)
    grouped = ExpertOutcomes(
        outcomes.prompts, outcomes.experts, outcomes.quality, outcomes.cost, np.zeros(120, dtype=np.int64)
    )
    with pytest.raises(OutcomeError, match="in 1 groups are too few"):
        fit_experts(grouped, clusters=2)
    with pytest.raises(OutcomeError, match="too few"):
        fit_experts(outcomes.part(np.arange(50)), clusters=2)
    with pytest.raises(OutcomeError, match="between 0 and 1"):
        fit_experts(outcomes, held_out=1.0)


def test_outcomes_are_prompts_that_all_have_answered() -> None:
    nan = float("nan")
    answers = answers_from(["a", "b", "c"], ["x", "y"], [[1, 0], [nan, 1], [0, 1]])
    found = expert_outcomes(answers)
    assert (found.prompts, found.incomplete, found.has_costs) == (("a", "c"), 1, False)
    assert found.cost.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(OutcomeError, match="1 of 2 answers have a cost"):
        expert_outcomes(answers_from(["a"], ["x", "y"], [[1, 0]], [[1, nan]]))
    with pytest.raises(OutcomeError, match="no prompt has a quality for all"):
        expert_outcomes(answers_from(["a"], ["x", "y"], [[1, nan]]))
    for wrong in ({"quality": np.array([[np.nan, 1.0]])}, {"cost": np.array([[-1.0, 1.0]])}, {"experts": ("x",)}):
        settings = {
            "prompts": ("a",),
            "experts": ("x", "y"),
            "quality": np.ones((1, 2)),
            "cost": np.ones((1, 2)),
            "groups": np.zeros(1, dtype=np.int64),
        }
        with pytest.raises(OutcomeError):
            ExpertOutcomes(**{**settings, **wrong})  # type: ignore[arg-type]


def test_the_command_fits_shows_and_writes(tmp_path: Path) -> None:
    outcomes = world(200)
    rows = [
        {"prompt": prompt, "model": expert, "quality": outcomes.quality[i, j], "cost": outcomes.cost[i, j]}
        for i, prompt in enumerate(outcomes.prompts)
        for j, expert in enumerate(outcomes.experts)
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    run = CliRunner().invoke(app, ["experts", "fit", str(file), "--out", str(tmp_path / "mine"), "--clusters", "3"])
    assert run.exit_code == 0, run.output
    assert "The expert router pays" in run.output
    assert "best single" in run.output
    assert "1 prompts that not all models have answered" in run.stderr
    assert ExpertRouter.load(tmp_path / "mine").metadata["verdict"] == "better"
    shown = CliRunner().invoke(app, ["experts", "rank", "--router", str(tmp_path / "mine"), "debug python", "zzz"])
    assert shown.output.startswith("code, ")
    assert "no known word" in shown.output
    failed = CliRunner().invoke(app, ["experts", "fit", str(tmp_path / "nowhere.jsonl"), "--out", "x"])
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: ")

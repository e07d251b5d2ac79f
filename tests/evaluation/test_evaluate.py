"""The whole evaluation on simulated pairs of models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared_router.errors import KnobError, OutcomeError
from shared_router.evaluation.costs import Costs, constant_costs, cost_points
from shared_router.evaluation.drops import calls_saved, drop_at, gap_difference
from shared_router.evaluation.evaluate import evaluate, prompt_lengths, wishes_from
from shared_router.evaluation.metrics import Interval, apgr, cpt, paired_bootstrap, random_apgr_deviation
from shared_router.evaluation.results import FIGURES, Evaluation, Wish
from shared_router.evaluation.shortfall import shortfall_auc
from shared_router.knob import NEVER_LARGE, OperatingCurve
from shared_router.tables.labeled import LabeledPrompt, LabeledPrompts, labeled_from

Floats = np.ndarray


def simulated(n: int = 400, *, knows: float = 1.0, gap: bool = True, seed: int = 0) -> tuple[Floats, LabeledPrompts]:
    """Prompts of random length, on which the small model fails with the probability that a good difficulty knows."""
    generator = np.random.default_rng(seed)
    hard = generator.random(n)
    small = (generator.random(n) > hard).astype(float)
    large = (generator.random(n) > (0.1 if gap else hard)).astype(float)
    difficulty = knows * hard + (1 - knows) * generator.random(n)
    rows = [
        LabeledPrompt(
            f"{i} " + "x" * int(generator.integers(1, 90)),
            (small[i],),
            (large[i],),
            {"task": "abc"[i % 3], "family": i // 4},
        )
        for i in range(n)
    ]
    return difficulty, labeled_from(rows)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    difficulty, labeled = simulated()
    noise = np.random.default_rng(5).random(len(labeled))
    return evaluate(
        difficulty,
        labeled,
        costs=constant_costs(len(labeled), 1.0, 10.0),
        others={"noise": noise},
        titles={"noise": "a guess"},
        wishes=(Wish("quality 0.9", 0.4, 0.6, 0.9), Wish("quality 1", 0.0)),
        by="task",
        data="toy.jsonl",
        router="toy@1",
        date="2026-01-02",
        resamples=300,
    )


def test_a_router_that_knows_pays_and_one_that_guesses_does_not(found: Evaluation) -> None:
    assert found.verdict.word == "routing_pays"
    difficulty, labeled = simulated(knows=0.0)
    assert evaluate(difficulty, labeled, resamples=200).verdict.word == "does_not_pay"


def test_without_a_gap_the_small_model_is_recommended() -> None:
    difficulty, labeled = simulated(gap=False)
    result = evaluate(difficulty, labeled, resamples=200)
    assert result.verdict.word == "use_small"
    swapped = labeled_from(
        [
            LabeledPrompt(prompt, (float(large),), (float(small),))
            for prompt, small, large in zip(
                *(simulated()[1].prompts, simulated()[1].small, simulated()[1].large), strict=True
            )
        ]
    )
    worse = evaluate(difficulty, swapped, resamples=100)
    assert worse.verdict.word == "use_small"
    assert worse.models.best == "small"
    # of a loss no share is recovered, but all else is told
    assert worse.score("router").metrics["apgr"] is None
    assert worse.score("router").metrics["cpt_50"] is None
    assert worse.score("router").metrics["drop_20"] is not None
    assert worse.random_deviation is None
    assert {curve.pgr for curve in worse.curves} == {None}


def test_another_score_that_is_better_is_named() -> None:
    difficulty, labeled = simulated()
    result = evaluate(
        np.random.default_rng(77).random(len(labeled)), labeled, others={"knows": difficulty}, resamples=200
    )
    assert result.verdict.word == "use_other"
    assert "use knows" in result.verdict.text


def test_a_router_that_is_prompt_length_is_not_better_than_prompt_length() -> None:
    difficulty, labeled = simulated()
    longer = labeled_from(
        [
            LabeledPrompt("x" * (1 + int(1000 * hard)) + str(i), (float(labeled.small[i]),), (float(labeled.large[i]),))
            for i, hard in enumerate(difficulty)
        ]
    )
    result = evaluate(difficulty, longer, resamples=200)
    assert result.verdict.word == "use_length"


def test_the_figures_are_those_of_the_plain_functions(found: Evaluation) -> None:
    difficulty, labeled = simulated()
    pair = (labeled.small, labeled.large)
    plain = {
        "apgr": apgr(difficulty, *pair),
        "over_random": (apgr(difficulty, *pair) - 0.5) * (labeled.large.mean() - labeled.small.mean()),
        "auc": shortfall_auc(difficulty, *pair),
        "cpt_50": cpt(difficulty, *pair, 0.5),
        "cpt_80": cpt(difficulty, *pair, 0.8),
        **{f"saved_{key}": calls_saved(difficulty, *pair, drop) for key, drop in ((0, 0.0), (1, 0.01), (5, 0.05))},
        **dict(zip(("drop_10", "drop_20", "drop_40"), drop_at(difficulty, *pair, [0.1, 0.2, 0.4]), strict=True)),
        **{f"gap_difference_{key}": gap_difference(difficulty, *pair, key / 100)[0] for key in (10, 20, 40)},
    }
    metrics = found.score("router").metrics
    for key, value in plain.items():
        told = metrics[key]
        assert told is not None
        assert told.estimate == pytest.approx(value), key
        assert told.low <= told.estimate <= told.high
    assert set(metrics) == set(FIGURES)


def test_the_money_is_that_of_the_plain_functions(found: Evaluation) -> None:
    difficulty, labeled = simulated()
    costs = constant_costs(len(labeled), 1.0, 10.0)
    (cost, quality), (small_cost, small), (large_cost, large) = cost_points(
        difficulty, labeled.small, labeled.large, costs, [0.8, 0.0, 1.0]
    )
    base = (large - small) / (large_cost - small_cost)
    lift = found.score("router").metrics["ibc_lift_20"]
    assert lift is not None
    assert lift.estimate == pytest.approx(((quality - small) / (cost - small_cost) - base) / base)
    random = found.score("random").metrics
    assert random["ibc_lift_40"] is not None
    assert random["ibc_lift_40"].estimate == pytest.approx(0.0, abs=1e-12)
    # the Zero router between two models is the line
    assert random["aiq"] is not None
    assert random["aiq"].estimate == pytest.approx((small + large) / 2)
    assert found.score("router").metrics["aiq"].estimate > random["aiq"].estimate  # type: ignore[union-attr]


def test_intervals_agree_with_the_paired_bootstrap(found: Evaluation) -> None:
    difficulty, labeled = simulated()
    lead = found.score("length").router_minus["apgr"]
    other = paired_bootstrap(
        difficulty, prompt_lengths(labeled), [labeled.small], [labeled.large], resamples=300, seed=9
    )
    assert lead is not None
    assert lead.estimate == pytest.approx(other.estimate)
    assert (lead.low, lead.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_the_baselines(found: Evaluation) -> None:
    assert [score.name for score in found.scores] == ["random", "length", "noise", "router", "oracle"]
    random, oracle = found.score("random"), found.score("oracle")
    assert random.metrics["apgr"] == Interval(*[pytest.approx(0.5)] * 3)
    assert random.metrics["cpt_80"] == Interval(*[pytest.approx(0.8)] * 3)
    assert oracle.metrics["auc"] == Interval(1.0, 1.0, 1.0)
    assert all(
        oracle.metrics["apgr"].estimate >= score.metrics["apgr"].estimate  # type: ignore[union-attr]
        for score in found.scores
    )
    assert found.score("noise").title == "a guess"
    with pytest.raises(KeyError):
        found.score("nobody")


def test_the_ends_of_every_curve_are_the_models(found: Evaluation) -> None:
    models = found.models
    _, labeled = simulated()
    assert models.small_quality.estimate == pytest.approx(labeled.small.mean())
    assert models.large_quality.estimate == pytest.approx(labeled.large.mean())
    assert models.best == "large"
    for curve in found.curves:
        assert curve.pgr is not None
        assert curve.drop is not None
        assert (curve.pgr[0], curve.pgr[-1]) == (0.0, 1.0)
        assert curve.drop[-1] == 0.0
        assert curve.drop[0] == pytest.approx(1 - labeled.small.mean() / labeled.large.mean(), abs=1e-6)
    assert models.small_drop is not None
    assert (models.small_cost, models.large_cost) == (1.0, 10.0)
    router = found.curves[3]
    assert router.pgr_band is not None
    assert all(
        low <= y <= high for low, y, high in zip(router.pgr_band[0], router.pgr, router.pgr_band[1], strict=True)
    )  # type: ignore[arg-type]


def test_a_fixed_threshold_is_judged_as_it_stands(found: Evaluation) -> None:
    difficulty, labeled = simulated()
    knob = found.knobs[0]
    sent = difficulty >= 0.4
    routed = np.where(sent, labeled.large, labeled.small).mean()
    assert knob.large_share.estimate == pytest.approx(sent.mean())
    assert knob.drop is not None
    assert knob.drop.estimate == pytest.approx(1 - routed / labeled.large.mean())
    assert knob.quality is not None
    assert knob.quality.estimate == pytest.approx((routed - labeled.small.mean()) / found.models.gap.estimate)
    assert knob.over_random is not None
    at_random = labeled.small.mean() + sent.mean() * found.models.gap.estimate
    assert knob.over_random.estimate == pytest.approx(routed - at_random)
    assert found.knobs[1].large_share.estimate == 1.0


def test_wishes_come_from_the_curve_or_the_quality_itself() -> None:
    curve = OperatingCurve((NEVER_LARGE, 0.6, 0.2), (0.0, 0.3, 1.0), (0.0, 0.7, 1.0), (0.2, 0.1, 0.0))
    assert wishes_from(curve, [0.5, 0.9]) == (Wish("quality 0.5", 0.6, 0.3, 0.7), Wish("quality 0.9", 0.2, 1.0, 1.0))
    assert wishes_from(None, [0.9])[0].threshold == pytest.approx(0.1)
    with pytest.raises(KnobError):
        wishes_from(curve, [2.0])


def test_tasks_and_what_is_left_within_them(found: Evaluation) -> None:
    assert [(task.name, task.rows) for task in found.tasks] == [("a", 134), ("b", 133), ("c", 133)]
    # tasks are random here: nothing is gained by telling them apart
    assert found.within_tasks is not None
    pooled = found.score("router").metrics["apgr"]
    assert pooled is not None
    assert found.within_tasks.estimate == pytest.approx(pooled.estimate, abs=0.02)


def test_a_score_that_only_tells_tasks_apart_is_found_out() -> None:
    _, plain = simulated(300)
    task = np.arange(300) % 2
    small = np.where(task == 1, 0.0, 1.0)
    labeled = labeled_from(
        [LabeledPrompt(plain.prompts[i], (small[i],), (1.0,), {"task": f"t{task[i]}"}) for i in range(300)]
    )
    result = evaluate(task.astype(float), labeled, by="task", resamples=100)
    assert result.score("router").metrics["apgr"] == Interval(
        pytest.approx(0.75), pytest.approx(0.75, abs=0.05), pytest.approx(0.75, abs=0.05)
    )
    assert result.within_tasks is not None
    assert result.within_tasks.estimate == pytest.approx(0.5)


def test_small_tasks_are_listed_without_intervals_and_empty_samples_do_no_harm() -> None:
    difficulty, labeled = simulated(60)
    tasks = tuple("big" if i >= 5 else None for i in range(60))
    groups = ["one"] * 5 + list(range(55))
    given = LabeledPrompts(
        labeled.prompts, labeled.small, labeled.large, labeled.small_samples, labeled.large_samples, {"task": tasks}
    )
    result = evaluate(difficulty, given, by="task", groups=groups, resamples=100)
    assert [(task.name, task.rows) for task in result.tasks] == [("big", 55), ("(none)", 5)]
    assert set(result.tasks[1].metrics.values()) == {None}
    assert result.tasks[0].metrics["over_random"] is not None
    assert result.within_tasks is not None


def test_groups_are_resampled_as_wholes_and_found_by_their_column() -> None:
    base, labeled = simulated(100)
    rows = [
        LabeledPrompt(f"{k} {labeled.prompts[i]}", (float(labeled.small[i]),), (float(labeled.large[i]),), {"group": i})
        for i in range(100)
        for k in range(4)
    ]
    repeated = labeled_from(rows)
    difficulty = np.repeat(base, 4)
    clustered = evaluate(difficulty, repeated, resamples=300)
    single = evaluate(difficulty, repeated, groups=list(range(400)), resamples=300)
    wide, narrow = (result.score("router").metrics["apgr"] for result in (clustered, single))
    assert wide is not None
    assert narrow is not None
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2.0, rel=0.25)
    assert clustered.about.groups == 100
    assert any("whole groups" in note for note in clustered.notes)


def test_random_scores_scatter_about_one_half_by_the_stated_deviation() -> None:
    _, labeled = simulated(500)
    generator = np.random.default_rng(77)
    runs = np.array([apgr(generator.random(500), labeled.small, labeled.large) for _ in range(600)])
    deviation = random_apgr_deviation(labeled.small, labeled.large)
    # the standard error of a deviation from 600 runs is 2.9 %
    assert runs.std() == pytest.approx(deviation, rel=0.12)
    assert runs.mean() == pytest.approx(0.5, abs=4 * deviation / np.sqrt(600))


def test_the_router_is_called_better_than_chance_about_as_seldom_as_it_should_be() -> None:
    wrong = 0
    for seed in range(60):
        difficulty, labeled = simulated(120, knows=0.0, seed=seed)
        wrong += evaluate(difficulty, labeled, resamples=200, seed=seed).verdict.word == "routing_pays"
    # one side of a 95 % interval: 1.5 expected of 60
    assert wrong <= 5


def test_the_same_seed_gives_the_same_evaluation_and_json_has_no_nan(found: Evaluation) -> None:
    difficulty, labeled = simulated()
    one, other = (evaluate(difficulty, labeled, resamples=50, seed=4) for _ in range(2))
    assert one == other
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (document["format"], document["format_version"]) == ("hybrid-llm-evaluation", 1)
    assert document["about"]["data"] == "toy.jsonl"
    assert document["verdict"]["word"] == "routing_pays"
    assert set(document["figures"]) == set(FIGURES)
    assert set(document["scores"][3]["metrics"]["apgr"]) == {"estimate", "low", "high"}
    assert document["knobs"][0]["wish"]["threshold"] == 0.4
    assert document["tasks"][0]["name"] == "a"
    assert sum(document["histogram"]["short"]) + sum(document["histogram"]["well"]) == 400
    assert len(document["curves"][0]["large_share"]) == 101


def test_without_costs_there_is_no_money_and_scores_out_of_range_are_not_called_probabilities() -> None:
    difficulty, labeled = simulated(80)
    result = evaluate(10 * difficulty, labeled, resamples=50)
    assert "aiq" not in result.score("router").metrics
    assert result.calibration is None
    assert result.histogram is None
    assert evaluate(difficulty, labeled, resamples=50).calibration is not None


def test_where_always_large_is_worth_nothing_no_relative_loss_is_told() -> None:
    labeled = labeled_from([LabeledPrompt(f"p{i}", (float(i % 2),), (0.0,)) for i in range(50)])
    result = evaluate(np.linspace(0, 1, 50), labeled, resamples=50)
    assert result.score("router").metrics["drop_20"] is None
    assert result.models.small_drop is None
    assert result.verdict.word == "use_small"
    assert result.curves[0].drop is None


def test_few_prompts_are_too_few() -> None:
    difficulty, labeled = simulated(30)
    assert evaluate(difficulty, labeled, resamples=50).verdict.word == "too_few"


def test_a_router_of_few_levels_is_noted() -> None:
    _, labeled = simulated(80)
    result = evaluate((np.arange(80) % 2).astype(float), labeled, resamples=50)
    assert any("only 2 different difficulties" in note for note in result.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 1.0}, "level lies between"),
        ({"resamples": 0}, "one resample"),
        ({"by": "nothing"}, r"no column 'nothing' \(there are: family, task\)"),
        ({"others": {"router": np.zeros(400)}}, "another name"),
        ({"others": {"mine": np.zeros(3)}}, r"others\['mine'\]"),
        ({"others": {"mine": np.full(400, np.nan)}}, r"others\['mine'\] has 400 values"),
        ({"groups": ["a"]}, "1 entries for 400"),
        ({"costs": Costs(np.array([1.0]), np.array([2.0]))}, "costs, small_quality"),
    ],
)
def test_bad_input_is_named(settings: dict[str, object], message: str) -> None:
    difficulty, labeled = simulated()
    with pytest.raises(OutcomeError, match=message):
        evaluate(difficulty, labeled, **{"resamples": 10, **settings})  # type: ignore[arg-type]


def test_difficulties_must_fit_the_prompts() -> None:
    difficulty, labeled = simulated()
    with pytest.raises(OutcomeError, match="difficulty, small_quality"):
        evaluate(difficulty[:5], labeled)


def test_a_column_with_a_value_a_prompt_is_no_table() -> None:
    difficulty, labeled = simulated(900)
    with pytest.raises(OutcomeError, match="225 different values"):
        evaluate(difficulty, labeled, by="family", resamples=5)

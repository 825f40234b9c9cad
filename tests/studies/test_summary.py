"""What a study makes of several models' scores over seeds and patients."""

import math

import pandas as pd
import pytest

from caseunet.studies.summary import ALL, compare_models, over_seeds, score_models


def table(scores: dict[str, list[list[float]]], structures: tuple[str, ...] = ("liver",)) -> pd.DataFrame:
    """{model: a list for each seed of a score for each patient}; every structure gets the same scores."""
    rows = []
    for model, seeds in scores.items():
        for seed, values in enumerate(seeds):
            for patient, value in enumerate(values):
                rows += [
                    {
                        "model": model,
                        "seed": seed,
                        "case": f"c{patient}",
                        "slice": math.nan,
                        "group": f"p{patient}",
                        "structure": structure,
                        "dice": math.nan if structure == "background" else value,
                    }
                    for structure in (*structures, "background")
                ]
    return pd.DataFrame(rows)


def test_means_are_over_cases_and_sd_over_seeds() -> None:
    cases = table({"a": [[0.8, 0.6], [0.9, 0.9]]})
    liver, together = score_models(cases, "dice")
    assert liver.mean == pytest.approx(0.8)
    assert liver.per_seed == pytest.approx((0.7, 0.9))
    assert liver.sd == pytest.approx(0.02**0.5)  # of .7 and .9
    assert (liver.cases, liver.interval, together.structure) == (2, None, ALL)
    assert together.mean == pytest.approx(0.8)
    averaged = over_seeds(cases[cases["structure"] == "liver"], "dice")
    assert averaged["dice"].tolist() == pytest.approx([0.85, 0.75])


def test_over_all_structures_each_counts_the_same() -> None:
    """A structure that only one case has weighs as much as one that all have."""
    cases = table({"a": [[0.8, 0.6]]}, ("liver", "tumour"))
    cases.loc[(cases["structure"] == "tumour") & (cases["case"] == "c1"), "dice"] = math.nan
    scores = {score.structure: score for score in score_models(cases, "dice")}
    assert scores["liver"].mean == pytest.approx(0.7)
    assert (scores["liver"].cases, scores["tumour"].cases, scores[ALL].cases) == (2, 1, 2)
    assert scores["tumour"].mean == pytest.approx(0.8)
    assert scores[ALL].mean == pytest.approx(0.75)
    assert scores[ALL].sd is None, "of one seed nothing is known of the others"


def outcome(a: list[list[float]], b: list[list[float]]) -> tuple[str, str]:
    cases = table({"a": a, "b": b})
    (found,) = compare_models(cases, "dice", score_models(cases, "dice"))
    return found.verdict, found.outcome


def test_better_only_if_patients_and_seeds_let_it() -> None:
    low = [0.70 + n / 100 for n in range(10)]
    high = [value + 0.05 for value in low]
    assert outcome([high], [low]) == ("first better", "first better")
    assert outcome([low], [high]) == ("second better", "second better")
    assert outcome([high, high], [low, low]) == ("first better", "first better")
    # Seeds .1 apart leave a standard error of .05 for each model's mean, √2 of that for the difference of .05.
    noisy = [[value - 0.05 for value in low], [value + 0.05 for value in low]]
    better = [[value + 0.05 for value in seed] for seed in noisy]
    assert outcome(better, noisy) == ("first better", "tie")
    assert outcome([low], [low]) == ("tie", "tie")
    assert outcome([high[:5]], [low[:5]]) == ("too few pairs", "too few pairs")


def test_the_error_of_the_seeds_by_hand() -> None:
    cases = table({"a": [[0.8], [0.9]], "b": [[0.6], [0.6]]})
    (found,) = compare_models(cases, "dice", score_models(cases, "dice"))
    assert found.seed_error == pytest.approx(0.05)  # sd of .8 and .9 is .1/√2, over √2 seeds
    assert found.difference == pytest.approx(0.25)

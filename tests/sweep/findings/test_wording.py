"""Each sentence about confirmed arms: of the arm after several searches, of one configuration after one search."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sweep.findings.confirmed import summarise_confirmed, verdict_confirmed
from tests.sweep.findings.test_confirmed import ARMS, CUTMIX, LR, OFF, records, study_of, verdict

LOWER, HIGHER, SAME = [0.20, 0.221, 0.21], [0.40, 0.421, 0.41], [0.30, 0.33, 0.30]
BASELINE = [0.30, 0.321, 0.31]
LUCK = (
    " How much of this is the luck of one search is not known. For a result about the arms, run several searches per "
    "arm: confirm.searches in the study."
)
HOLM = "paired t-tests at 5 %, Holm's correction for 2 comparisons"


def of_searches(**values: list[float]) -> dict[str, list[float]]:
    """Return one test error per search of each arm."""
    return {f"{arm}-{search}": [error] for arm, errors in values.items() for search, error in enumerate(errors)}


def of_seeds(**values: list[float]) -> dict[str, list[float]]:
    """Return the test errors of one configuration per arm, seed by seed."""
    return {f"{arm}-0": errors for arm, errors in values.items()}


SEVERAL = {"k": 3, "seeds": 1}
CASES = [
    # several searches, something varies in every arm
    (
        study_of(**SEVERAL, space=LR),
        of_searches(off=BASELINE, cutmix=LOWER, mixup=HIGHER),
        f"(k = 3 searches per arm, {HOLM}): cutmix has a lower test error than off and mixup has a higher test error "
        "than off, each arm searched with 4 trials.",
    ),
    (
        study_of(**SEVERAL, space=LR),
        of_searches(off=BASELINE, cutmix=LOWER, mixup=SAME),
        f"(k = 3 searches per arm, {HOLM}): cutmix has a lower test error than off, each arm searched with 4 trials; "
        "undecided: mixup.",
    ),
    (
        study_of(**SEVERAL, space=LR),
        of_searches(off=BASELINE, cutmix=SAME, mixup=SAME[::-1]),
        f"(k = 3 searches per arm, {HOLM}): undecided: no arm differs significantly from off, each arm searched with 4 "
        "trials.",
    ),
    # several searches, nothing varies in the baseline
    (
        study_of(**SEVERAL, cutmix=LR, arms=ARMS[:2]),
        of_searches(off=BASELINE, cutmix=LOWER),
        "(k = 3 searches per arm, paired t-tests at 5 %): cutmix, searched with 4 trials, has a lower test error than "
        "off.",
    ),
    (
        study_of(**SEVERAL, cutmix=LR, mixup=LR),
        of_searches(off=BASELINE, cutmix=LOWER, mixup=LOWER[::-1]),
        f"(k = 3 searches per arm, {HOLM}): cutmix and mixup, each searched with 4 trials, have a lower test error "
        "than off.",
    ),
    (
        study_of(**SEVERAL, cutmix=LR),
        of_searches(off=BASELINE, cutmix=SAME, mixup=SAME[::-1]),
        f"(k = 3 searches per arm, {HOLM}): undecided: mixup does not differ significantly from off; cutmix, searched "
        "with 4 trials, does not differ significantly from off.",
    ),
    # searches that have no confirmation
    (
        study_of(k=4, seeds=2, space=LR),
        of_searches(off=BASELINE, cutmix=LOWER),
        f"(k = 3 of 4 searches per arm, up to 2 seeds per search, {HOLM}): cutmix has a lower test error than off, "
        "each arm searched with 4 trials; not compared: mixup.",
    ),
    # one search
    (
        study_of(space=LR, arms=ARMS[:2]),
        of_seeds(off=BASELINE, cutmix=LOWER),
        "(n = 3 seeds per configuration, paired t-tests at 5 %): the configuration found for cutmix has a lower test "
        f"error than the configuration found for off.{LUCK}",
    ),
    (
        study_of(space=LR),
        of_seeds(off=BASELINE, cutmix=LOWER, mixup=LOWER[::-1]),
        f"(n = 3 seeds per configuration, {HOLM}): the configurations found for cutmix and mixup have a lower test "
        f"error than the configuration found for off.{LUCK}",
    ),
    (
        study_of(cutmix=LR),
        of_seeds(off=BASELINE, cutmix=LOWER, mixup=HIGHER),
        f"(n = 3 seeds per configuration, {HOLM}): the configuration found for cutmix has a lower test error than off "
        f"and mixup has a higher test error than off.{LUCK}",
    ),
    (
        study_of(space=LR),
        of_seeds(off=BASELINE, cutmix=SAME, mixup=SAME[::-1]),
        f"(n = 3 seeds per configuration, {HOLM}): undecided: no compared configuration differs significantly from the "
        f"configuration found for off.{LUCK}",
    ),
    (
        study_of(space=LR),
        of_seeds(off=BASELINE, cutmix=LOWER, mixup=SAME),
        f"(n = 3 seeds per configuration, {HOLM}): the configuration found for cutmix has a lower test error than the "
        f"configuration found for off; undecided: the configuration found for mixup.{LUCK}",
    ),
    # nothing varies
    (
        study_of(),
        of_seeds(off=BASELINE, cutmix=LOWER, mixup=HIGHER),
        f"(n = 3 seeds per arm, {HOLM}): cutmix has a lower test error than off and mixup has a higher test error than "
        "off.",
    ),
    (
        study_of(arms=ARMS[:2]),
        of_seeds(off=BASELINE, cutmix=SAME),
        "(n = 3 seeds per arm, paired t-tests at 5 %): undecided: no arm differs significantly from off.",
    ),
    (
        study_of(),
        of_seeds(off=OFF[:2], cutmix=CUTMIX, mixup=[0.3]),
        f"(n = 2 seeds per arm, {HOLM}): undecided: no arm differs significantly from off; not compared: mixup.",
    ),
]


@pytest.mark.parametrize(("study", "errors", "words"), CASES)
def test_the_words_follow_the_data_and_the_design(
    study: dict[str, Any], errors: dict[str, list[float]], words: str
) -> None:
    assert verdict(errors, study) == f"Confirmed on fresh seeds {words}"


def test_without_the_baseline_nothing_is_compared() -> None:
    assert verdict({"cutmix-0": CUTMIX}) == "Confirmed on fresh seeds; no arm can be compared with off."
    alone = verdict({"off-0": OFF}, study_of(arms=ARMS[:1]))
    assert alone == "Confirmed on fresh seeds; off is the only arm, so there is nothing to compare it with."


def test_while_trials_are_left_the_result_is_one_so_far() -> None:
    study = study_of(**SEVERAL, space=LR, arms=ARMS[:2])
    for errors, words in (
        (of_searches(off=BASELINE, cutmix=LOWER), "Confirmed so far on fresh seeds (k = 3 searches per arm"),
        ({"cutmix-0": CUTMIX}, "Confirmed so far on fresh seeds; no arm can be compared with off yet."),
    ):
        rows = summarise_confirmed(*records(errors, study=study))
        sentence = verdict_confirmed(rows, study, unfinished=True)
        assert sentence.startswith(words)
        assert " yet." in sentence or sentence.endswith(", each arm searched with up to 4 trials.")


def test_older_records_have_one_search() -> None:
    """Their manifest has no number of searches."""
    study = study_of(space=LR, arms=ARMS[:2])
    search, confirm = records(of_seeds(off=BASELINE, cutmix=LOWER), study=study)
    del study["confirm"]["searches"]
    assert "the configuration found for cutmix" in verdict_confirmed(summarise_confirmed(search, confirm), study)


@pytest.mark.parametrize("values", [LOWER, HIGHER, SAME])
def test_after_one_search_no_sentence_is_about_a_searched_arm(values: list[float]) -> None:
    sentence = verdict(of_seeds(off=BASELINE, cutmix=values), study_of(space=LR, arms=ARMS[:2]))
    named = re.findall(r"(\w+ \w+) (?:cutmix|off)\b", sentence)
    assert set(named) <= {"found for"}, sentence
    assert "luck of one search" in sentence

"""The share of a GPU that a trial has, given in one of two ways."""

from __future__ import annotations

import pytest

from search_spaces.discover import load_study
from search_spaces.resources import MAX_PER_GPU, Resources, check_one_share, share_of
from sweep.slots import workers_on
from trainables.errors import UserError
from trainables.strict import parse


@pytest.mark.parametrize("number", range(1, MAX_PER_GPU + 1))
def test_so_many_trials_fit_on_a_gpu_and_no_more(number: int) -> None:
    resources = Resources(trials_per_gpu=number)
    units = round(10_000 * resources.gpus)  # as Ray counts
    assert resources.gpus == units / 10_000
    assert (number * units <= 10_000, (number + 1) * units <= 10_000) == (True, False)
    assert workers_on({"CPU": 1000, "GPU": 3}, resources) == 3 * number
    assert Resources(gpus=1 / number).gpus == resources.gpus
    assert parse(Resources, resources.model_dump(mode="json"), where="recorded") == resources


def test_the_last_of_the_two_ways_holds() -> None:
    def loaded(*settings: str) -> Resources:
        return load_study("quickstart", scale="gpu", settings=[*settings, "base.data.source=digits"]).resources

    assert loaded().gpus == 1.0
    by_number = loaded("resources.trials_per_gpu=6")
    assert (by_number.gpus, by_number.trials_per_gpu, by_number.cpus) == (0.1666, 6, 2)
    again = loaded("resources.trials_per_gpu=6", "resources.gpus=0.5")
    assert (again.gpus, again.trials_per_gpu) == (0.5, None)
    measured = loaded("resources.trials_per_gpu=auto").with_trials_per_gpu(3)
    assert (measured.gpus, measured.trials_per_gpu) == (share_of(3), 3)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"gpus": 0.5, "trials_per_gpu": 4}, "gpus is 0.5 and trials_per_gpu is 4: they say the same in two ways"),
        ({"gpus": 0.5, "trials_per_gpu": "auto"}, "give only one"),
        ({"trials_per_gpu": 0}, "trials_per_gpu"),
        ({"trials_per_gpu": MAX_PER_GPU + 1}, "trials_per_gpu"),
        ({"trials_per_gpu": "all"}, "trials_per_gpu"),
        ({"trials_per_gpu": 2, "workers": 2}, "each one needs a GPU of its own"),
        ({"trials_per_gpu": "auto", "workers": 2}, "got trials_per_gpu: auto"),
        ({"gpus": 0.00001}, "the smallest fraction of a GPU is 0.0001"),
        ({"mps": "on"}, "mps is on, but trials use no GPU"),
    ],
)
def test_refusals(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse(Resources, values, where="resources")


def test_both_options_are_refused() -> None:
    check_one_share(0.5, None)
    with pytest.raises(UserError, match=r"--gpus 0\.5 and --trials-per-gpu auto say the same in two ways"):
        check_one_share(0.5, "auto")

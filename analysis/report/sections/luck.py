"""The section on the luck of the search: in the notebook of every study, absent before a confirmation."""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown, display

from analysis import plots
from analysis.data import frames
from analysis.data.arms import confirmed_winners
from analysis.data.winners import winners as winners_of
from analysis.questions import luck
from analysis.report.show import show

_SEARCHES = """## Luck of the search

Another search of the same arm finds another winner. One point per search: the test error of its winner (filled) and the
validation error by which the search selected it (hollow), with the mean test error and its 95 % t interval over
searches. `optimism` is the test error minus the validation error: the winner was selected by its validation error, and
the images differ."""

_ONE_SEARCH = """## Luck of the search

Another search of the same arm finds another winner. Here each arm was searched once. One point per fresh seed of its
winner: the test error (filled), and the validation error of the winner in the search (hollow). The interval of the mean
is over seeds: it does not contain the luck of the search."""

_BEST_OF = """### Best of n trials

Expected validation top-1 error of the trial that the search selects (y) after n trials (x), one line per arm with its
95 % interval. A validation error falls with n by selection alone: compare arms at equal n, on test images."""

_SPREAD = """### Spread of searches and of seeds

Standard deviations of the test top-1 error with their 95 % intervals, each alone. `values`: between the values that
comparisons use. `searches`: the part of the searches, without that of the seeds (one-way random effects, analysis of
variance; cut at 0). `seeds`: between fresh seeds of one winner."""


def show_luck(sweep_dir: Path | str | None = None) -> None:
    """Show how winners, searches and seeds spread; nothing before a confirmation, or where nothing was searched.

    Args:
        sweep_dir: folder of the sweep; None uses the environment variable ``CUTMIX_SWEEP_DIR``.
    """
    winners = winners_of(sweep_dir)
    if not luck.has_luck(winners):
        return
    is_search = winners["unit"].iloc[0] == "search"
    display(Markdown(_SEARCHES if is_search else _ONE_SEARCH))
    show(plots.winners_strip(plots.winners_info(winners)), "luck_winners_figure")
    intervals = {"error": ("error_low", "error_high"), "optimism": ("optimism_low", "optimism_high")}
    percent = ["error", "lowest", "highest", "validation"]
    table = luck.winner_table(winners)
    show(table, "luck_winners", percent=percent, points=["optimism"], intervals=intervals)
    search = frames.load(sweep_dir)
    best = plots.best_of_info(search)
    if (best["how"] != "equal").any():
        display(Markdown(f"{_BEST_OF} {luck.describe_best_of(best)}"))
        show(plots.best_of(best), "luck_best_of_figure")
    confirmed = confirmed_winners(sweep_dir).astype({"arm": search.trials["arm"].dtype})
    spread = plots.spread_info(confirmed)
    display(Markdown(_SPREAD))
    if spread["searches"].notna().any():
        show(plots.spreads(spread), "luck_spread_figure")
    show(luck.spread_table(spread), "luck_spread", data=spread)
    display(Markdown("\n".join(f"- {sentence}" for sentence in luck.sentences(winners, spread))))

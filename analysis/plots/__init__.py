"""Figures of a sweep: a thin function plots a frame; for most figures a function ``*_info`` computes it.

Frames contain fractions; figures show percent. A figure without data shows a message.
"""

from analysis.plots.arms import draw_errors, final_error, final_error_info, forest, forest_info
from analysis.plots.best_of import best_of, best_of_info
from analysis.plots.cost import error_over_cost
from analysis.plots.curves import learning_curves, learning_curves_info
from analysis.plots.dose import dose_gain, dose_gain_info
from analysis.plots.evaluations import correlations, pareto, pareto_info
from analysis.plots.halving import stopped_winners
from analysis.plots.lengths import crossing
from analysis.plots.luck import spread_info, spreads, winners_info, winners_strip
from analysis.plots.measurements import first_quantities, measured
from analysis.plots.profile import profile, profile_info
from analysis.plots.ranks import critical_difference
from analysis.plots.series import estimates
from analysis.plots.slice import slice_info, slice_plot
from analysis.plots.stopping import rung_to_final, rung_to_final_info, stopping, stopping_info, timeline
from analysis.plots.surface import response, response_info, surface

__all__ = [
    "best_of",
    "best_of_info",
    "correlations",
    "critical_difference",
    "crossing",
    "dose_gain",
    "dose_gain_info",
    "draw_errors",
    "error_over_cost",
    "estimates",
    "final_error",
    "final_error_info",
    "first_quantities",
    "forest",
    "forest_info",
    "learning_curves",
    "learning_curves_info",
    "measured",
    "pareto",
    "pareto_info",
    "profile",
    "profile_info",
    "response",
    "response_info",
    "rung_to_final",
    "rung_to_final_info",
    "slice_info",
    "slice_plot",
    "spread_info",
    "spreads",
    "stopped_winners",
    "stopping",
    "stopping_info",
    "surface",
    "timeline",
    "winners_info",
    "winners_strip",
]

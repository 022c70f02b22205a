"""Published numbers, and own values beside them.

A published number may come from another network, budget, number of seeds or selection of the epoch. The column
``differs`` of :func:`compare_to_published` lists these differences.
"""

from analysis.published.comparison import compare_to_published
from analysis.published.filled import fill_folders, fill_table, why_not_comparable
from analysis.published.numbers import BASELINE, load_published, published_name
from analysis.published.quantities import QUANTITIES

__all__ = [
    "BASELINE",
    "QUANTITIES",
    "compare_to_published",
    "fill_folders",
    "fill_table",
    "load_published",
    "published_name",
    "why_not_comparable",
]

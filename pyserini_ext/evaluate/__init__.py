"""Effectiveness of runs: measures, significance against a baseline, wins and losses.

Nothing heavy is imported here; ir_measures, scipy and matplotlib come in where they are used.
"""

from pyserini_ext.evaluate.evaluation import Evaluation, evaluate
from pyserini_ext.evaluate.measures import DEFAULT_MEASURES, Measurer
from pyserini_ext.evaluate.qrels import read_qrels
from pyserini_ext.evaluate.significance import Comparison, compare, holm, paired_t_test

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Evaluation",
    "Measurer",
    "compare",
    "evaluate",
    "holm",
    "paired_t_test",
    "read_qrels",
]

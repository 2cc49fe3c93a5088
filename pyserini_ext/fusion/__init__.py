"""Combining ranked lists: normalisation, missing scores and weights, each chosen by name."""

from pyserini_ext.fusion.combine import MISSING, fuse
from pyserini_ext.fusion.interpolation import CONVENTIONS, Interpolation
from pyserini_ext.fusion.normalise import NORMALISERS

__all__ = ["CONVENTIONS", "MISSING", "NORMALISERS", "Interpolation", "fuse"]

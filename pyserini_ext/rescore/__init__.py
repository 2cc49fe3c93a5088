"""Exact scores of given candidates, at the speed of memory.

:func:`~pyserini_ext.rescore.scoring.rescore` and :func:`~pyserini_ext.rescore.scoring.score` do it
with the first backend that works: CUDA through CuPy, numba, NumPy.
"""

"""Plugins in the shape that Pyserini's commands expect.

Nothing here imports Pyserini: its classes are called by name and arguments only, never subclassed.
"""

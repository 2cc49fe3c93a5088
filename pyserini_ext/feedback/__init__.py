"""Pseudo-relevance feedback methods: one file a family, one class a method.

A method has a ``depth`` (how many feedback documents it reads) and one method::

    refine(queries, vectors, feedback, store) -> vectors

It knows vectors, not searchers. ``docs/plugins.md`` shows how to add one from another package.
"""

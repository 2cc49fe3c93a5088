"""Pseudo-relevance feedback methods: one file a family, one class a method.

A method has a ``depth`` (how many feedback documents it reads) and one of three methods. On a dense
index queries are vectors::

    refine(queries, vectors, feedback, store) -> vectors

and on an impact index weights of tokens::

    refine_terms(queries, weights, feedback, store) -> weights

A method on a dense index that learns from the scores of a second searcher has::

    refine_guided(queries, vectors, pools, guide, store) -> vectors

It knows vectors or weights, not searchers. ``docs/plugins.md`` shows how to add one from another
package.
"""

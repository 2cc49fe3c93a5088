"""Exact scores of given candidates, at the speed of memory."""

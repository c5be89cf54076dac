"""Measuring against rendered ground truth: what there is to compare with, the scores, and the two evaluations."""

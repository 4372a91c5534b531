"""Benchmarks, run by hand: they measure ratios side by side and assert nothing."""

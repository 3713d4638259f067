"""Measurements of speed, as ratios within one run: ``python -m experiments.benchmarks.NAME``."""

"""Experiments on mlcalc_jax, one runnable module each: ``python -m experiments.NAME``."""

"""Calculus as functions of functions: derivatives, Taylor polynomials with proof, roots, optima."""

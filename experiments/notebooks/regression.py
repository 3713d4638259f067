# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Regression
#
# A straight line has a closed form; chi-squared over slope and intercept is a valley, tilted unless
# $x$ is centred.

# %%
# %matplotlib inline
import numpy as np

import mlcalc_jax as mc

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(2, 10, 20))
y = 1.7 * x - 3 + rng.normal(0, 1, 20)
line = mc.straight_line(x, y)
fit = mc.fit(mc.models.line, None, x, y)
print(line.slope, line.slope_stderr, line.intercept, line.intercept_stderr)
print(fit.report())
mc.plots.fit(fit)

# %% [markdown]
# The joint confidence region is tilted as the valley is: a steeper line goes with a lower
# intercept.

# %%
mc.plots.contours(fit, "slope", "intercept")

# %%
start = {"slope": 0.0, "intercept": 0.0}
for shift in (0.0, float(x.mean())):
    problem = mc.LeastSquares(mc.models.line, x - shift, y)
    step = 1 / np.linalg.eigvalsh(mc.hessian(problem, start).matrix)[-1]
    path = mc.minimise(problem, start, mc.steepest_descent(step), 4000, gradient_tolerance=1e-9)
    print(f"x less {shift:.3g}: {path.steps_taken} steps, {path.message}")

# %% [markdown]
# ## Anscombe's quartet
#
# Four sets with the same line; only a look at the residuals tells the stories. A robust loss sees
# through the outlier of the third.

# %%
for k, (x, y) in enumerate(mc.data.anscombe(), start=1):
    line = mc.straight_line(x, y)
    print(f"set {k}: {line.slope:.4f} x + {line.intercept:.4f}")
x, y = mc.data.anscombe()[2]
robust = mc.fit(mc.models.line, None, x, y, sigma=0.1, loss="cauchy")
print({name: round(float(value), 3) for name, value in robust.params.items()})
mc.plots.fit(robust)

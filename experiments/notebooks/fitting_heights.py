# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Fitting the distribution of heights data
#
# A Gaussian $f(x; \mu, \sigma)$ is fitted to a histogram of heights: we look for the $\mu$ and
# $\sigma$ at which $\chi^2 = \sum |y - f(x; \mu, \sigma)|^2$ is least, by going downhill.

# %%
# %matplotlib inline
import jax
import numpy as np

import mlcalc_jax as mc

heights = mc.data.heights_histogram()
problem = mc.LeastSquares(mc.models.gaussian, heights.centre, heights.density)
start = {"mu": 155.0, "sigma": 6.0}
problem(start)

# %%
mc.plots.histogram(heights, mc.models.gaussian, start, unit="cm")

# %% [markdown]
# ## Steepest descent
#
# The step is $-\mathrm{aggression} \cdot J$, where $J = \partial\chi^2 / \partial(\mu, \sigma)$.

# %%
path = mc.minimise(problem, start, mc.steepest_descent(2000.0), steps=50)
for step in (0, 10, 25, 50):
    print(step, path.params["mu"][step], path.params["sigma"][step], path.cost[step])

# %%
mc.plots.contour(problem, path, x=("mu", 150, 200), y=("sigma", 3, 25))

# %%
mc.plots.histogram(heights, mc.models.gaussian, path.final, unit="cm")

# %% [markdown]
# ## How much aggression is too much?
#
# Near the optimum the cost is a bowl, $\frac12 d^T H d$, and a step multiplies the error along an
# eigenvector of the Hessian $H$ by $1 - \mathrm{aggression} \cdot \lambda$. It shrinks as long as
# the aggression is below $2 / \lambda_\mathrm{max}$.

# %%
with jax.enable_x64(True):
    H = jax.hessian(problem)(path.final)
    print("limit:", 2 / np.linalg.eigvalsh([[H[a][b] for b in H] for a in H])[-1])
    aggressions = np.array([500.0, 1000.0, 4000.0, 8000.0])
    paths = jax.vmap(lambda a: mc.minimise(problem, start, mc.steepest_descent(a), 50))(aggressions)
print({name: value.round(2) for name, value in paths.final.items()})

# %%
mc.plots.cost(
    {f"{a:g}": jax.tree.map(lambda leaf, i=i: leaf[i], paths) for i, a in enumerate(aggressions)}
)

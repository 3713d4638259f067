# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Approximations, and how accurate they are
#
# A Taylor polynomial with a bound of its error that is proved: interval arithmetic, rounded
# outward, over the operations of the function itself.

# %%
# %matplotlib inline
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

cosine = mc.taylor(jnp.cos, 0.0, 4)
print(cosine.coefficients)
print(cosine.remainder(1.5), "guess:", cosine.guess(1.5))
mc.plots.taylor(cosine, 3.0)

# %%
mc.plots.taylor_error(cosine, 3.0)

# %% [markdown]
# ## Past an asymptote
#
# The series of $1/x$ about 1 is useless from 2 on, and no bound is given across the pole.

# %%
reciprocal = mc.taylor(lambda x: 1 / x, 1.0, 6)
print(reciprocal.remainder(0.9))
try:
    reciprocal.remainder(1.2)
except ValueError as error:
    print(error)
mc.plots.taylor(reciprocal, 0.9, reach=1.6)

# %% [markdown]
# ## Several variables

# %%
f = mc.expression("exp(-x**2) * sin(y)", ("x", "y"))
surface = mc.taylor(f, {"x": 0.0, "y": 0.5}, 3)
print({powers: round(c, 4) for powers, c in surface.coefficients.items() if abs(c) > 1e-12})
print(surface.remainder(0.3))

# %% [markdown]
# Nothing near the corners of that box breaks the bound.

# %%
rng = np.random.default_rng(0)
some = {"x": rng.uniform(-0.3, 0.3, 10_000), "y": rng.uniform(0.2, 0.8, 10_000)}
apart = np.exp(-(some["x"] ** 2)) * np.sin(some["y"]) - surface.polynomial(some)
print(apart.min(), apart.max())

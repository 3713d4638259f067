# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Your own model
#
# A model is a function of parameters and $x$. There is nothing to register and nothing to inherit:
# here is a damped oscillation, in five lines.

# %%
# %matplotlib inline
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mlcalc_jax as mc


def ringing(params, t):
    envelope = params["amplitude"] * jnp.exp(-t / params["lifetime"])
    return envelope * jnp.cos(2 * jnp.pi * params["frequency"] * t)


# %% [markdown]
# ## Data
#
# Forty noisy readings of which we know the truth and the standard deviation.

# %%
rng = np.random.default_rng(0)
truth = {"amplitude": 2.0, "lifetime": 3.0, "frequency": 0.5}
t = np.linspace(0, 8, 40)
y = np.asarray(ringing(truth, t), float) + rng.normal(0, 0.1, t.size)
problem = mc.LeastSquares(ringing, t, y, sigma=0.1)

# %% [markdown]
# ## Fit

# %%
start = {"amplitude": 1.0, "lifetime": 1.5, "frequency": 0.45}
path = mc.minimise(problem, start, mc.levenberg_marquardt(), steps=30)
print({name: round(float(value), 3) for name, value in path.final.items()}, path.cost[-1])

# %% [markdown]
# Chi-squared of a good fit is about the number of points less the number of parameters, 37.
#
# ## Race
#
# Another optimiser is another argument.

# %%
optimisers = {
    "Levenberg-Marquardt": mc.levenberg_marquardt(),
    "L-BFGS": optax.lbfgs(),
    "Adam (0.1)": optax.adam(0.1),
    "steepest descent (2e-5)": mc.steepest_descent(2e-5),
}
paths = {
    name: mc.minimise(problem, start, optimiser, 200) for name, optimiser in optimisers.items()
}
mc.plots.cost(paths)

# %% [markdown]
# ## Picture

# %%
fig, ax = plt.subplots()
fine = np.linspace(0, 8, 400)
ax.errorbar(t, y, 0.1, fmt="o", markersize=3, label="data")
ax.plot(fine, ringing(start, fine), "--", label="start")
ax.plot(fine, ringing(path.final, fine), label="fit")
ax.set(xlabel="time", ylabel="reading")
ax.legend()

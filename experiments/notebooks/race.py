# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A fair race of optimisers
#
# Comparisons go wrong in well-known ways: one method is tuned more than another, one seed decides,
# compilation hides in the seconds, a step of Gauss-Newton counts like a step of gradient descent.
# `mc.compare` gives everyone the same settings, seeds and steps, and counts what is asked of the
# model.

# %%
# %matplotlib inline
import optax

import mlcalc_jax as mc

# %% [markdown]
# ## One problem
# Rosenbrock's banana, from scattered starts. A factory such as `optax.adam` is tuned over 24
# learning rates; Levenberg-Marquardt has nothing to tune.

# %%
optimisers = {
    "steepest descent": mc.steepest_descent,
    "Adam": optax.adam,
    "heavy ball": mc.contender(optax.sgd, momentum=mc.uniform(0.0, 0.99)),
    "L-BFGS": optax.lbfgs,
    "Levenberg-Marquardt": mc.levenberg_marquardt,
}
problem = mc.problems.rosenbrock()
result = mc.compare(problem, optimisers, steps=500)
result

# %% [markdown]
# The lowest cost so far: the line is the median of 16 fresh seeds, the band holds the middle 60 %.

# %%
mc.plots.race(result)

# %% [markdown]
# How much hangs on the learning rate? A star is the one that was chosen.

# %%
mc.plots.sensitivity(result)

# %% [markdown]
# The paths from one of the fresh seeds.

# %%
paths = mc.replay(result, problem, optimisers)
mc.plots.contour(problem.cost, paths, x=problem.view.x, y=problem.view.y)

# %% [markdown]
# ## Your own problem, your own optimiser
# Any pure cost with a start will do, and any optax gradient transformation.


# %%
def bowl(params):
    return (params["x"] ** 2 + 30 * params["y"] ** 2) ** 0.75


mine = mc.problems.from_cost(bowl, {"x": 2.0, "y": 1.0}, minimum=0.0)
entrants = {"clipped": lambda learning_rate: optax.chain(optax.clip(1.0), optax.sgd(learning_rate)),
            "plain": optax.sgd}  # fmt: skip
print(mc.compare(mine, entrants, steps=200, repeats=0).report())

# %% [markdown]
# ## Several problems
# Performance profiles: which share of problems each optimiser solves within a multiple of the
# effort of the best. `python -m experiments.tournament` races twelve optimisers on twenty problems.

# %%
several = [mc.problems.named(name) for name in ("rosenbrock", "beale", "helical_valley")]
race = mc.compare(several, optimisers, steps=300, trials=12, seeds=8, tuning_seeds=4, repeats=0)
mc.plots.performance_profile(race)

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The landscape of a cost
#
# Seventy-seven parameters cannot be drawn; a plane through them can. First the plane in which the
# training moved most, then a random one.

# %%
# %matplotlib inline
from jax.tree_util import Partial

import mlcalc_jax as mc

curve = mc.data.curve()
cost = Partial(mc.network.cost, x=curve.x, y=curve.y)
start = mc.network.init_params(0, dtype="float64")
path = mc.minimise(cost, start, mc.steepest_descent(7.0), 5000, every=10)
print(path.cost[0], "->", path.cost[-1])

# %%
along = mc.path_directions(path)
plane = mc.landscape(cost, path.final, along.across, along.up, extent=25)
mc.plots.landscape(plane, path, labels=("along the path", "across it"))
print("share of the path's spread in this plane:", sum(along.explained))

# %% [markdown]
# Random directions, scaled neuron by neuron to the network's own weights.

# %%
mc.plots.landscape(mc.landscape(cost, path.final, extent=0.5))

# %% [markdown]
# ## Curvature
#
# Most eigenvalues of the Hessian are nearly zero: the cost does not care about most directions.
# Some are below zero: this is no minimum yet.

# %%
spectrum = mc.hessian_spectrum(cost, path.final)
mc.plots.spectrum(spectrum)
print((spectrum.eigenvalues < 0).sum(), "of", spectrum.eigenvalues.size, "below zero")

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The chain rule inside a network
#
# The gradient of the cost by each weight is a product of factors, one after another from the cost
# back to the first layer. Here they are.

# %%
# %matplotlib inline
import jax

import mlcalc_jax as mc

curve = mc.data.curve()
params = mc.network.init_params(0, dtype="float64")
found = mc.explain_backprop(params, curve.x, curve.y)
print(found)

# %%
mc.plots.network(found, "forward")

# %%
mc.plots.network(found, "backward")

# %% [markdown]
# ## Vanishing gradients
#
# Thirty times larger weights saturate the sigmoids: $\sigma'$ is nearly zero nearly everywhere, and
# what is multiplied by it is lost.

# %%
large = jax.tree.map(lambda leaf: 30 * leaf, params)
saturated = mc.explain_backprop(large, curve.x, curve.y)
for name in ("sigma'(z3)", "sigma'(z2)", "sigma'(z1)", "J_W1"):
    print(f"{name:12} {found.factor(name).norm:.2e} -> {saturated.factor(name).norm:.2e}")
mc.plots.factor(saturated.factor("sigma'(z2)"))

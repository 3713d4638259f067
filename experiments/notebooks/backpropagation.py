# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Backpropagation: a network learns to draw a curve
#
# A network of one input, two hidden layers of six and seven, and two outputs takes how far along
# a curve we are, $x \in [0, 1)$, and returns where on the paper that is. It learns by steepest
# descent on the Jacobians of the cost, which the chain rule gives.

# %%
# %matplotlib inline
import jax
from jax.tree_util import Partial

import mlcalc_jax as mc

target = mc.data.curve("heart")
start = mc.network.init_params(jax.random.key(0), sizes=(1, 6, 7, 2))

# %% [markdown]
# ## The chain rule, every factor by name
#
# With $z_k = W_k a_{k-1} + b_k$ and $a_k = \sigma(z_k)$, the cost is
# $C = \frac1N \sum |a_3 - y|^2$, and
#
# $$\frac{\partial C}{\partial W_2} = \frac{\partial C}{\partial a_3}
#   \frac{\partial a_3}{\partial z_3} \frac{\partial z_3}{\partial a_2}
#   \frac{\partial a_2}{\partial z_2} \frac{\partial z_2}{\partial W_2}.$$

# %%
factors = mc.network.backprop(start, target.x, target.y)
for name in ("da_dz", "dz_da", "dz_dW", "delta"):
    print(name, [factor.shape for factor in getattr(factors, name)])

# %% [markdown]
# JAX differentiates the cost by itself. Both must agree:

# %%
by_jax = jax.grad(mc.network.cost)(start, target.x, target.y)
for by_hand, automatic in zip(factors.jacobian, by_jax, strict=True):
    print(abs(by_hand.W - automatic.W).max(), abs(by_hand.b - automatic.b).max())

# %% [markdown]
# ## Stochastic steepest descent
#
# Every step multiplies each array's Jacobian by its own $1 + \mathrm{noise} \cdot N(0, 1)$. The
# whole descent is one compiled loop, which keeps every step.

# %%
cost = Partial(mc.network.cost_by_backprop, x=target.x, y=target.y)
path = mc.minimise(cost, start, mc.steepest_descent(aggression=7.0, noise=1.0), steps=10_000)
print(path.message, "cost:", path.cost[[0, 100, 1000, 10_000]])

# %%
mc.plots.learning(path, target.x, target.y)

# %%
mc.plots.cost(path)

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Gradients, Jacobians, and the chain rule as a graph
#
# Every function here takes a function and a point, any pytree of numbers, and names what it finds
# by the pytree's keys.

# %%
# %matplotlib inline
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

f = mc.expression("x**2 * y + 3*z", ("x", "y", "z"))
at = {"x": 2.0, "y": 5.0, "z": 7.0}
print(mc.gradient(f, at))
print(mc.jacobian(f, at))  # one output: reverse mode is one pass
print(mc.hessian(f, at))

# %% [markdown]
# ## The chain rule is a graph
#
# Each edge has its local derivative. The derivative of the result by an input is the product along
# each path to it, summed over the paths.

# %%
mc.plots.graph(
    mc.computational_graph(
        mc.expression("sin(x) * exp(y * z**2)", ("x", "y", "z")), {"x": 0.7, "y": 1.5, "z": 0.6}
    )
)

# %% [markdown]
# The product rule: both factors depend on $x$, so two paths lead there.

# %%
mc.plots.graph(mc.computational_graph(mc.expression("sin(x) * exp(x)"), 0.8))

# %% [markdown]
# ## The total derivative, term by term
#
# $f = \sin x\, e^{y z^2}$ on the path $x = t - 1$, $y = t^2$, $z = 1/t$ has
# $df/dt = e \cos(t - 1)$: two of the three terms cancel.

# %%
total = mc.total_derivative(
    mc.expression("sin(x) * exp(y * z**2)", ("x", "y", "z")),
    lambda t: {"x": t - 1, "y": t**2, "z": 1 / t},
    1.7,
)
print(total.term, float(total.value), np.e * np.cos(0.7))

# %% [markdown]
# ## Polar coordinates
#
# The determinant of the Jacobian is the area that a unit of $dr\,d\phi$ covers: $r$.

# %%
polar = mc.jacobian(
    lambda p: {"x": p["r"] * jnp.cos(p["phi"]), "y": p["r"] * jnp.sin(p["phi"])},
    {"r": 2.0, "phi": 0.4},
)
print(polar, abs(np.linalg.det(polar.matrix)))

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Newton-Raphson, and how it fails
#
# Follow the tangent to the axis, and again from there.

# %%
# %matplotlib inline
import mlcalc_jax as mc

f = mc.expression("x**6/6 - 3*x**4 - 2*x**3/3 + 27*x**2/2 + 18*x - 30")
for start in (1.0, -4.0, 1.99, 3.1):
    search = mc.newton_raphson(f, start)
    print(start, search.x[1], float(search.root), int(search.steps_taken), search.message)

# %%
mc.plots.tangents(f, mc.newton_raphson(f, -4.0))

# %% [markdown]
# Near a turning point the tangent is almost level, and the iterate leaps. Which root a start ends
# at, and after how many steps:

# %%
mc.plots.basins(f, x=(-5, 5))

# %% [markdown]
# ## A cycle

# %%
g = mc.expression("x**3 - 2*x + 2")
search = mc.newton_raphson(g, 0.0)
print(search.message)
mc.plots.cobweb(g, search, x=(-2, 2))

# %% [markdown]
# ## The fractal
#
# Over the complex plane the starts that lead to each cube root of one meet everywhere.

# %%
mc.plots.basins(mc.expression("x**3 - 1"), x=(-2, 2), y=(-2, 2), resolution=300)

# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Rise over run
#
# A slope is rise over run. Let the run shrink, and the secant closes on the tangent.

# %%
# %matplotlib inline
import mlcalc_jax as mc

f = mc.expression("exp(x) * sin(3*x) / (1 + x**2)")  # or any function of yours
mc.plots.secants(f, 0.7, [1.0, 0.5, 0.25, 0.05])

# %% [markdown]
# ## How small should the run be?
#
# Truncation falls with $h$, rounding grows with $1/h$: there is a best $h$ in between. The complex
# step subtracts nothing and has no such floor; automatic differentiation has no $h$ at all.

# %%
errors = mc.slope_errors(f, 0.7)
mc.plots.slope_errors(errors)
{scheme: round(order, 3) for scheme, order in errors.order.items()}

# %% [markdown]
# The derivative itself, with a proof of how exact it is, and the schemes at one $h$.

# %%
print(f"f'(0.7) = {errors.exact} +- {errors.exact_error:.1g}")
for scheme in ("forward", "central", "complex"):
    print(scheme, float(mc.slope(f, 0.7, 1e-6, scheme=scheme)))

# %% [markdown]
# ## Is my gradient right?
#
# The same differences, extrapolated to $h = 0$, check a gradient written by hand, number by number.

# %%
curve = mc.data.curve()
params = mc.network.init_params(0, dtype="float64")
check = mc.check_gradient(
    lambda p: mc.network.cost(p, curve.x, curve.y),
    params,
    lambda p: mc.network.backprop(p, curve.x, curve.y).jacobian,
)
print(check)

# %% [markdown]
# With `%matplotlib widget` in place of `inline`, `mc.plots.explore_slope(f, 0.7)` has sliders.

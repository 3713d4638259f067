# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Uphill on a surface
#
# The gradient points uphill, across the contours; where it is zero, the Hessian tells a minimum
# from a maximum from a saddle.

# %%
# %matplotlib inline
import mlcalc_jax as mc

f = mc.expression("x * exp(-x**2 - y**2) + (x**2 + y**2) / 20", ("x", "y"))
x, y = ("x", -2, 2), ("y", -2, 2)
points = mc.critical_points(f, {"x": (-2, 2), "y": (-2, 2)})
for point in points:
    print(point.kind, point.at, point.eigenvalues)

# %%
start = {"x": 1.1, "y": -0.9}
down = mc.minimise(f, start, mc.steepest_descent(0.1), 300)
up = mc.minimise(lambda p: -f(p), start, mc.steepest_descent(0.1), 300)
ax = mc.plots.contour(f, {"descent": down, "ascent": up}, x=x, y=y, label="f")
mc.plots.gradient_field(f, x=x, y=y, ax=ax)
mc.plots.critical_points(points, x="x", y="y", ax=ax)

# %%
mc.plots.surface(f, x=x, y=y, points=points)

# %% [markdown]
# With `%matplotlib widget` in place of `inline`, `mc.plots.explore_surface(f, x=x, y=y)` has a
# point to drag.

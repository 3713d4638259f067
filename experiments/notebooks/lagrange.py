# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Lagrange multipliers
#
# On a line $g = 0$, a function $f$ is stationary where its gradient is a multiple of that of $g$:
# $\nabla f = \lambda \nabla g$.

# %%
# %matplotlib inline
import mlcalc_jax as mc

f = mc.expression("exp(-(2*x**2 + y**2 - x*y) / 2)", ("x", "y"))
g = mc.expression("x**2 + 3*(y + 1)**2 - 1", ("x", "y"))
points = mc.constrained(f, g, {"x": (-2, 2), "y": (-3, 1)})
for p in points:
    print(
        f"{p.kind:8} ({p.at['x']:.5f}, {p.at['y']:.5f}) lambda {p.multiplier:.5f} f {p.value:.6f}"
    )

# %%
x, y = ("x", -1.6, 1.6), ("y", -2.2, 0.6)
ax = mc.plots.contour(f, x=x, y=y, label="f")
mc.plots.gradient_field(f, x=x, y=y, ax=ax)
mc.plots.constraint(g, x=x, y=y, ax=ax)
mc.plots.critical_points(points, x="x", y="y", ax=ax)

# %% [markdown]
# ## Three dimensions
#
# The largest value of $x + 2y + 3z$ on the unit sphere is $\sqrt{14}$, and $\lambda$ is half of it.

# %%
names = ("x", "y", "z")
low, high = mc.constrained(
    mc.expression("x + 2*y + 3*z", names),
    mc.expression("x**2 + y**2 + z**2 - 1", names),
    dict.fromkeys(names, (-2, 2)),
)
print(high, 14**0.5)

# %% [markdown]
# ## A curve that is not closed

# %%
f = mc.expression("-exp(x - y**2 + x*y)", ("x", "y"))
g = mc.expression("cosh(y) + x - 2", ("x", "y"))
x, y = ("x", -3.0, 1.3), ("y", -2.5, 2.0)
points = mc.constrained(f, g, {"x": x[1:], "y": y[1:]})
ax = mc.plots.contour(f, x=x, y=y, label="f")
mc.plots.constraint(g, x=x, y=y, ax=ax)
mc.plots.critical_points(points, x="x", y="y", ax=ax)

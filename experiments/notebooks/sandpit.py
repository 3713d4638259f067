# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The sandpit
#
# A phone lies at the lowest point of a pit of sand whose floor is hidden. A dip of the stick tells
# the depth and its Jacobian, which points uphill. To play here, run `%matplotlib widget` first and
# click; the same game opens in a window with `python -m mlcalc_jax.sandpit`, and in a browser with
# `--browser`.

# %%
# %matplotlib inline
import jax.numpy as jnp
import numpy as np

import mlcalc_jax as mc

game = mc.sandpit.show("bowl", 0, practice=True)
game.dip(4.0, 1.5)
game.dip(2.5, 4.5)
game.figure

# %% [markdown]
# `r` (or this) reveals the floor, and what three strategies would have done from the first dip.

# %%
game.session.reveal()
game.draw()
game.figure

# %% [markdown]
# ## A strategy of one's own
#
# A strategy is a pure function of what the last dip told and of a memory of all dips; it returns a
# step. Five lines, and it plays a thousand pits at once.


# %%
def careful(depth, jacobian, hessian, memory):
    length = jnp.minimum(0.5, (9 + depth) / jnp.linalg.norm(jacobian))  # the phone lies at -9 m
    step = -length * jacobian / jnp.linalg.norm(jacobian)
    return mc.sandpit.inside(step, memory)


pits = mc.sandpit.pits("dunes", 1000)
print(mc.sandpit.play(careful, pits).report())

# %% [markdown]
# It knows how deep the phone lies, which the others do not.

# %%
for name, strategy in mc.sandpit.strategies().items():
    games = mc.sandpit.play(strategy, pits)
    print(f"{name:18}{games.win_rate:6.1%}{games.mean_dips:7.1f} dips")

# %% [markdown]
# ## Where it wins from

# %%
ticks = np.linspace(0, 6, 61)
starts = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
games = mc.sandpit.play(careful, mc.sandpit.pit("dunes", 1), starts)
ax = mc.plots.figure(5.5, 4.6).add_subplot()
dips = np.where(games.won, games.dips, np.nan).reshape(61, 61)
ax.figure.colorbar(ax.pcolormesh(ticks, ticks, dips, cmap="viridis_r"), label="dips")
ax.set(xlabel="x of the first dip (m)", ylabel="y of the first dip (m)", aspect="equal")
ax.figure

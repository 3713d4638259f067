"""What is compiled: the descents of a chunk of fits, on one device or divided among several."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from .._xla import compiled
from ._descent import Chunk, Settings, is_batched


# JAX 0.10 computes sums over points three times faster on a CPU with the older of its two ways to
# write loops; later versions have only one, which is as fast, and know no such option. Of vectors
# LLVM takes half as wide as the processor has them where it is not told. A library's sums (YNNPACK)
# cannot be part of what is written as one function.
@compiled(
    static_argnums=0,
    xla_cpu_use_fusion_emitters=False,
    xla_cpu_prefer_vector_width="512",
    xla_cpu_experimental_ynn_fusion_type="",
)
def descend(
    settings: Settings, chunk: Chunk, tolerance: Any, steps: Any, used: Any
) -> dict[str, Array]:
    """What each fit of a chunk finds, the fits in the last axis.

    ``used`` (devices,) of each device's share are to be computed.
    """
    if settings.in_kernel:
        from ._kernel import descended  # and Pallas, which takes a while
    else:
        from ._blocks import descended
    if settings.devices == 1:
        return descended(settings, chunk, tolerance, steps, used)
    mesh, specs = placement(settings, chunk)
    here = jax.eval_shape(partial(descended, settings), chunk, tolerance, steps, used)
    return jax.shard_map(
        partial(descended, settings),
        mesh=mesh,
        in_specs=(specs, PartitionSpec(), PartitionSpec(), PartitionSpec("fits")),
        out_specs={
            name: PartitionSpec(*[None] * (of.ndim - 1), "fits") for name, of in here.items()
        },
        check_vma=False,
    )(chunk, tolerance, steps, used)


def placement(settings: Settings, chunk: Chunk) -> tuple[Mesh, Any]:
    """This machine's devices, and over which axis each leaf of a chunk is divided among them."""

    def spec(path: Any, leaf: Any) -> PartitionSpec:
        name = path[0].key
        return PartitionSpec("fits") if is_batched(name, leaf, settings) else PartitionSpec()

    mesh = Mesh(np.array(jax.local_devices()[: settings.devices]), ("fits",))
    return mesh, jax.tree_util.tree_map_with_path(spec, chunk)

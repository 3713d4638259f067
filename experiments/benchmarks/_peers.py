"""The curve network as others would train it: what the benchmark compares with.

``course_step`` is how the course has it done: six functions, one for each Jacobian, every one of
which runs the network anew. ``fused_step`` is what one would write in NumPy who wants it fast.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]


def sigma(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def sigma_prime(z: np.ndarray) -> np.ndarray:
    return np.cosh(z / 2) ** -2 / 4


def forward(layers: Layers, a0: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    z: list[np.ndarray] = []
    a = [a0]
    for W, b in layers:
        z.append(W @ a[-1] + b)
        a.append(sigma(z[-1]))
    return z, a


def _backwards_to(k: int, layers: Layers, x: np.ndarray, y: np.ndarray) -> Any:
    """N dC/dz_k by the chain rule from the top, and the activations, all computed anew."""
    z, a = forward(layers, x)
    J = 2 * (a[-1] - y)
    for above in range(len(layers) - 1, k, -1):
        J = ((J * sigma_prime(z[above])).T @ layers[above][0]).T
    return J * sigma_prime(z[k]), a


def J_W(k: int, layers: Layers, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    J, a = _backwards_to(k, layers, x, y)
    return J @ a[k].T / x.size


def J_b(k: int, layers: Layers, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    J, _ = _backwards_to(k, layers, x, y)
    return np.sum(J, axis=1, keepdims=True) / x.size


def course_step(
    layers: Layers, x: np.ndarray, y: np.ndarray, aggression: float, noise: Callable[[], float]
) -> Layers:
    """One step of stochastic steepest descent, six separate Jacobians for three layers."""
    Js = [(J_W(k, layers, x, y), J_b(k, layers, x, y)) for k in range(len(layers))]
    return [
        (W - aggression * JW * (1 + noise()), b - aggression * Jb * (1 + noise()))
        for (W, b), (JW, Jb) in zip(layers, Js, strict=True)
    ]


def fused_step(
    layers: Layers, x: np.ndarray, y: np.ndarray, aggression: float, noise: Callable[[], float]
) -> Layers:
    """The same step with one forward and one backward pass."""
    _, a = forward(layers, x)
    delta = 2 * (a[-1] - y) * a[-1] * (1 - a[-1]) / x.size
    stepped = []
    for k in range(len(layers) - 1, -1, -1):
        W, b = layers[k]
        JW, Jb = delta @ a[k].T, delta.sum(axis=1, keepdims=True)
        if k:
            delta = (W.T @ delta) * a[k] * (1 - a[k])
        stepped.append((W - aggression * (1 + noise()) * JW, b - aggression * (1 + noise()) * Jb))
    return stepped[::-1]


def torch_steps(layers: Layers, x: np.ndarray, y: np.ndarray, aggression: float) -> Any:
    """A function that takes n steps with PyTorch's autograd and SGD, or None without PyTorch."""
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    torch.set_num_threads(1)
    linears: list[Any] = []
    for W, b in layers:
        linear = torch.nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W))
            linear.bias.copy_(torch.tensor(b[:, 0]))
        linears += [linear, torch.nn.Sigmoid()]
    network = torch.nn.Sequential(*linears)
    inputs = torch.tensor(x.T, dtype=torch.float32)
    targets = torch.tensor(y.T, dtype=torch.float32)
    optimiser = torch.optim.SGD(network.parameters(), lr=aggression)

    def steps(n: int) -> None:
        for _ in range(n):
            optimiser.zero_grad()
            (((network(inputs) - targets) ** 2).sum() / x.size).backward()
            optimiser.step()

    return steps

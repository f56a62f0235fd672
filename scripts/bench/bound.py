"""The machine's measured rates, and an upper bound on the training rate from counted operations.

An operation is one addition, product, comparison or conversion of a float32 or uint32 word. For n features and m hidden
dimensions the bound counts:
- per sample: 10 n m for W x, W^T h and the gradients of h and W (2 n m each, the last twice); 11 n for the draw (5:
  rotate, convert, multiply, subtract, cut off), bias, activation, error, slope (2) and the gradient of the bias
- per step: 15 (n m + n) for Adam, 55 n for the offsets (half of a Threefry-2x32 per word)
- per step of the exact loss: the equations of its gradient's jaxpr (the compiler merges some equal ones), and Adam
The 10 n m count at the rate of a large matrix product for models held as arrays. Everything else counts at the rate of
an elementwise kernel in registers (float multiply-adds next to integer sums and XORs). Both rates are measured in the
same run on all cores. Bytes do not count: a block's state and the shared bits stay in cache during a segment of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.engine import WIDE_VECTORS, cores, plan
from tmsjax.engine.gradient import exact
from tmsjax.engine.scalars import split
from tmsjax.models import bind
from tmsjax.spec import Spec


def machine_rates() -> dict[str, float]:
    """Measured operations/s on all cores (or one GPU): a large matrix product, an elementwise kernel."""
    cpu = jax.default_backend() == "cpu"
    size = 2048 if cpu else 8192
    square = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a)
    matmul = 2 * size**3 / _fastest(lambda: jax.block_until_ready(product(square)))
    shapes = ((8, 0, 4096), (8, 4, 4096), (8, 6, 16384)) if cpu else ((8, 0, 2**22), (8, 4, 2**22))
    return {"matmul": matmul, "elementwise": max(_elementwise_rate(*shape) for shape in shapes)}


def _elementwise_rate(floats: int, words: int, elements: int, length: int = 64, repeats: int = 1000) -> float:
    """Operations/s of independent chains in registers: products and sums of floats, sums and XORs of uint32 words."""

    def kernel(carry: tuple) -> tuple:
        def body(_: Any, carry: tuple) -> tuple:
            x, z = carry
            xs = [x + np.float32(k) for k in range(floats)]
            zs = [z + np.uint32(k) for k in range(words)]
            for k in range(length):
                xs = [v * np.float32(0.999) + np.float32(0.001) for v in xs]
                zs = [(w + np.uint32(12345 + k)) ^ np.uint32(777 + k * k) for w in zs]
            out = sum(xs[1:], xs[0]) * np.float32(1 / floats)
            for w in zs:
                out = out + (w >> 31).astype(jnp.float32) * np.float32(1e-9)
            return out, z

        return jax.lax.fori_loop(0, repeats, body, carry)

    cpu = jax.default_backend() == "cpu"
    workers = cores() if cpu else 1
    compiled = jax.jit(kernel, compiler_options=WIDE_VECTORS if cpu else None)
    vectors = [(jnp.full(elements, 0.5), jnp.arange(elements, dtype=jnp.uint32)) for _ in range(workers)]

    def run() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda v: jax.block_until_ready(compiled(v)), vectors))

    return 2 * (floats + words) * length * repeats * elements * workers / _fastest(run)


def _fastest(function: Callable[[], Any], tries: int = 5) -> float:
    """Seconds of the fastest of `tries` calls, after one warm-up call."""
    function()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def bound_of(spec: Spec, machine: dict[str, float]) -> dict[str, Any]:
    """Operations in one model's step, and the rate (samples/s or model-steps/s) that the machine's rates allow."""
    n, m = spec.model.features, spec.model.hidden
    optimizer = 15 * (n * m + n)
    if spec.train.loss == "exact":
        samples, products, others = 1, 0, optimizer + _equations_of_exact_loss(spec)
    else:
        samples = spec.train.batch
        a_feature = 11 if spec.model.activation != "linear" else 9  # no activation and no slope of one
        products, others = 10 * n * m * samples, a_feature * n * samples + 55 * n + optimizer
    where = "elementwise" if plan(spec, jax.default_backend()).scalars else "matmul"
    seconds = products / machine[where] + others / machine["elementwise"]
    return {"products": products, "products_at": where, "others": others, "rate": samples / seconds}


def _equations_of_exact_loss(spec: Spec) -> int:
    """Scalar operations in one gradient of the exact loss."""
    problem = bind(spec)
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}

    def held(tree: Any) -> Any:
        return jax.tree.map(lambda x: split(x, 0) if x.ndim else x, tree)

    given = jax.eval_shape(held, (params, problem.instance))
    return _equations(jax.make_jaxpr(partial(exact, problem=problem))(*given).jaxpr)


def _equations(jaxpr: Any) -> int:
    """Number of equations in a scalar jaxpr. An inner jaxpr replaces its call and counts once per loop iteration."""
    total = 0
    for e in jaxpr.eqns:
        parts = [p for p in e.params.values() if hasattr(p, "eqns") or hasattr(p, "jaxpr")]
        total += e.params.get("length", 1) * sum(_equations(getattr(p, "jaxpr", p)) for p in parts) if parts else 1
    return total

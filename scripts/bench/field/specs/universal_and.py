import numpy as np

import tmsjax

tmsjax.add_family(
    "universal-and",
    parameters={"W": ("hidden", "feature"), "b": ("hidden",), "V": ("output", "hidden"), "c": ("output",)},
    apply=lambda p, x, f: p["V"] @ f(p["W"] @ x + p["b"]) + p["c"],
    target=lambda x: (x[:, None] * x[None])[np.triu_indices(x.shape[0], 1)],
    outputs=lambda n: n * (n - 1) // 2,
)

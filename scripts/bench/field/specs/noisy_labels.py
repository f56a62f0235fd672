import jax

import tmsjax

tmsjax.add_family(
    "noisy-labels",
    parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden"), "M": ("feature", "feature")},
    apply=lambda p, x, f: p["V"] @ f(p["W"] @ x),
    init=lambda normals, instance, sigma: {"M": sigma * normals["M"]},
    target=lambda x, frozen: jax.nn.relu(x) + frozen["M"] @ x,
    frozen={"M"},
    options={"sigma": tmsjax.Option("quantity", default=0.0, low=0.0)},
)

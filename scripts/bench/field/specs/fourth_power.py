import jax

import tmsjax

tmsjax.add_family(
    "neurons",
    parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden")},
    apply=lambda p, x, f: p["V"] @ f(p["W"] @ x),
    target=jax.nn.relu,
)

import jax.numpy as jnp

import tmsjax


def apply(p, x, f, delay):
    h, outputs = jnp.zeros(p["A"].shape[0]), []
    for now in x.reshape(-1, p["W"].shape[1]):
        h = f(p["A"] @ h + p["W"] @ now)
        outputs.append(p["V"] @ h)
    return jnp.concatenate(outputs[delay:])


whole = tmsjax.Option("int", default=1)
tmsjax.add_sampler(
    "sequence",
    columns=lambda n, length: 2 * n * length,
    sample=lambda u, p, length: jnp.where(u[: u.size // 2] < jnp.tile(p, length), u[u.size // 2 :], 0),
    inputs=lambda n, length: n * length,
    options={"length": whole},
)
tmsjax.add_family(
    "recall",
    parameters={"W": ("hidden", "feature"), "A": ("hidden", "hidden"), "V": ("feature", "hidden")},
    apply=apply,
    target=lambda x, length, delay: x[: x.shape[0] // length * (length - delay)],
    outputs=lambda n, length, delay: n * (length - delay),
    options={"length": whole, "delay": whole},
)

"""Losses: the error of one sample, between a target and a model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tmsjax.kinds.arrays import Elementwise, Features, Number, Output, Params, Scalar
from tmsjax.kinds.registry import Option, Registry, checked_callables, checked_options, positional

GIVEN = ("importance", "x", "params", "f", "apply")  # what a loss gets by name, beside its options


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of one sample. The spec's options are passed as keywords. `add_loss` describes more fields.

    Attributes:
        tied: Whether it needs parameters W and b of a model f(W^T W x + b).
    """

    function: Callable[..., Output | Scalar]
    sentence: str
    evaluation: Callable[..., Output | Scalar] | None = None
    tied: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def square(self) -> bool:
        """Whether models are ranked by the squared error, of which exact losses are known."""
        return self.ranking is squared

    @property
    def ranking(self) -> Callable[..., Output | Scalar]:
        """The loss that ranks models."""
        return self.function if self.evaluation is None else self.evaluation


def squared(target: Output, output: Output) -> Output:
    """(target - output)^2."""
    error = target - output
    return error * error


def _power(target: Output, output: Output, exponent: Number) -> Output:
    """|target - output|^exponent. Its slope at 0 is 0."""
    import jax.numpy as jnp

    error = jnp.abs(target - output)
    inside = error > 0
    # A power by way of exp and log, which vectorise on CPU as `pow` does not.
    return jnp.where(inside, jnp.exp(exponent * jnp.log(jnp.where(inside, error, np.float32(1)))), np.float32(0))


def _cross_entropy(target: Output, output: Output) -> Output:
    """-target_i log softmax(output)_i."""
    import jax.numpy as jnp

    shifted = output - output.max()
    return target * (jnp.log(jnp.exp(shifted).sum()) - shifted)


def _attacked(
    target: Output, output: Output, *, x: Features, params: Params, importance: Output, f: Elementwise, apply: Callable,
    radius: Scalar,
) -> Output:  # fmt: skip
    """The squared error on the worst of n perturbed samples.

    The pre-activations of a tied model are A x + b with A = W^T W, so among perturbations of length r the one along row
    A_i raises output i most. Of these n, the one with the largest loss is taken (Elhage et al. 2022, section
    "Superposition and adversarial examples": analytic attacks, since gradients vanish where every output is 0).
    """
    return squared(target, apply(worst(params, x, target, importance, f, radius)))


def worst(params: Params, x: Features, target: Output, importance: Output, f: Elementwise, radius: Scalar) -> Features:
    """`x` with the worst perturbation of length `radius` for f(W^T W x + b), a constant to differentiation."""
    import jax
    import jax.numpy as jnp

    fixed = {name: jax.lax.stop_gradient(value) for name, value in params.items()}
    rows = fixed["W"].T @ fixed["W"]
    before = rows @ x + (fixed["b"] if "b" in fixed else np.float32(0))
    length = jnp.sqrt((rows * rows).sum(1) + np.float32(1e-20))
    steps = radius * rows / length[:, None]  # one perturbation per row
    errors = f(before[None] + steps @ rows) - target[None]  # rows is symmetric
    return x + steps[jnp.argmax((importance[None] * errors * errors).sum(1))]


LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "square": Loss(squared, "the squared error"),
        "power": Loss(
            _power,
            "|target - output|^exponent",
            options={"exponent": Option("quantity", low=1.0, high=100.0, sentence="exponent of the error")},
        ),
        "cross-entropy": Loss(_cross_entropy, "-sum target log softmax(output); targets are probabilities of classes"),
        "attacked": Loss(
            _attacked,
            "the squared error on attacked samples of tied models; models are ranked by that on the samples themselves",
            evaluation=squared,
            tied=True,
            options={
                "radius": Option(
                    "quantity",
                    default=0.0,
                    low=0.0,
                    of_norm=True,
                    sentence="length of attacks over the root mean square norm of a sample",
                )
            },
        ),
    },
)


def add_loss(
    name: str,
    function: Callable[..., Output | Scalar],
    *,
    evaluation: Callable[..., Output | Scalar] | None = None,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds a loss of one sample.

    Functions are plain JAX of a target and an output, both (o,). They give one number per output, which are weighted
    by importance and summed, or a single number (), which is the loss. As keywords they get, if they name them, the
    spec's options and `importance` (o,), the input `x`, the parameters `params`, the activation `f`, and `apply`, the
    model as a function of an input.

    Args:
        name: By which specs find it: `[loss] kind`.
        function: (target, output) -> the loss that training minimises.
        evaluation: The loss that ranks models; None: the same.
        options: Keys that it adds to [loss].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> tmsjax.add_loss("fourth", lambda target, output: (target - output) ** 4)
        >>> tmsjax.load_spec(spec, ["loss.kind=fourth"]).loss.kind
        'fourth'
    """
    functions = {"function": function} | ({} if evaluation is None else {"evaluation": evaluation})
    checked_callables(LOSSES, name, **functions)
    checked = checked_options(LOSSES, name, options, table=("kind", *GIVEN), used=functions.values())
    for what, given in functions.items():
        if positional(given, {*checked, *GIVEN}) > 2:
            why = f"{what} has more arguments than target and output; by name it gets {', '.join(GIVEN)} and options"
            raise LOSSES.refuse(name, why)
    LOSSES.add(name, Loss(function, sentence, evaluation=evaluation, options=checked))

"""Families: model architectures, each a set of pure functions of one instance and one sample.

W has shape (m, n) = (hidden, feature); column W_i in R^m is the direction of feature i. Functions take one sample x of
shape (n,) and are plain JAX on small arrays.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.kinds import autoencoders, heads, layers
from tmsjax.kinds.activations import ACTIVATIONS
from tmsjax.kinds.arrays import Array, Elementwise, Features, Floats, Output, Params, Quantities, Scalar
from tmsjax.kinds.registry import (
    DIMENSIONS,
    RESERVED,
    RESERVED_PREFIXES,
    Option,
    Registry,
    checked_callables,
    checked_options,
    positional,
)
from tmsjax.kinds.samplers import one_per_feature


def _fits(n: int, m: int) -> str | None:
    return None


@dataclass(frozen=True, eq=False)
class Family:
    """Pure functions of one instance. The spec's options are passed as keywords. `add_family` describes the fields.

    Attributes:
        gram_only: Whether the output is f(W^T W x + b) or f(W^T W x); only these have exact losses.
        frozen: The parameters that are not trained, each with its value for all models or None.
        labelled: Whether the target also depends on the frozen parameters.
    """

    parameters: Mapping[str, tuple[str, ...]]
    init: Callable[..., Params]
    apply: Callable[..., Output]
    target: Callable[..., Output]
    directions: Callable[..., Float[Array, "hidden feature"]] | None
    sentence: str
    penalty: Callable[..., Scalar] | None = None
    gram_only: bool = False
    neurons: bool = False
    writes: str | None = None
    outputs: Callable[..., int] = one_per_feature
    misfit: Callable[..., str | None] = _fits
    options: Mapping[str, Option] = field(default_factory=dict)
    frozen: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    labelled: bool = False
    noise: Callable[..., int] | None = None
    sizes: Mapping[str, Callable[..., int]] = field(default_factory=dict)

    @property
    def dimensions(self) -> list[str]:
        """The names that dimensions of parameters can have."""
        whole = [key for key, option in self.options.items() if option.type == "int"]
        return [*DIMENSIONS, "input", "output", *whole, *self.sizes]

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """The dimensions of each parameter in results, where repeated ones get a number: ("hidden", "hidden_2")."""
        return {name: _numbered(dims) for name, dims in self.parameters.items()}

    @property
    def reproduces(self) -> bool:
        """Whether the target is x itself."""
        return self.target is _same

    @property
    def bias(self) -> bool:
        """Whether there is a parameter b."""
        return "b" in self.parameters


def _numbered(dims: tuple[str, ...]) -> tuple[str, ...]:
    count = {k: dims[: k + 1].count(dim) for k, dim in enumerate(dims)}
    return tuple(dim if count[k] == 1 else f"{dim}_{count[k]}" for k, dim in enumerate(dims))


def scaled_normals(normals: Params, instance: Quantities) -> Params:
    """The default init: standard deviation bias_scale for b, init_scale for every other parameter."""
    return {k: (instance.bias_scale if k == "b" else instance.init_scale) * v for k, v in normals.items()}


def _same(x: Features) -> Features:
    return x


def _tied(params: Params, x: Features, f: Elementwise) -> Features:
    """f(W^T W x + b) (the paper, section "Demonstrating superposition")."""
    W, b = params["W"], params["b"]
    return f(W.T @ (W @ x) + b)


def _tied_without_bias(params: Params, x: Features, f: Elementwise) -> Features:
    W = params["W"]
    return f(W.T @ (W @ x))


def _hidden_relu(params: Params, x: Features, f: Elementwise) -> Features:
    """f(W^T ReLU(W x) + b) (the paper, section "Superposition in a privileged basis")."""
    W, b = params["W"], params["b"]
    return f(W.T @ _relu(W @ x) + b)


def _absolute_value(params: Params, x: Features, f: Elementwise) -> Features:
    """f(V ReLU(W x) + b) (the paper, section "Computation in superposition", with W_1 = W and W_2 = V)."""
    return f(params["V"] @ _relu(params["W"] @ x) + params["b"])


def _relu(h: Floats) -> Floats:
    return ACTIVATIONS["relu"].function(h)


def _columns_of_W(params: Params) -> Float[Array, "hidden feature"]:
    return params["W"]


RATIO = Option("quantity", default=1.0, low=0.0, sentence="importance of each relation over that of the one before")
VALUE_RANK = Option("int", default=1, sentence="rank of W_OV")


def _of_head(
    apply: Callable[..., Float[Array, "1"]], parameters: Mapping[str, tuple[str, ...]], sentence: str
) -> Family:
    """A head whose output is its score (see heads.py). It stores relations, so features have no directions."""
    return Family(
        parameters=parameters,
        init=scaled_normals,
        apply=apply,
        target=heads.related,
        directions=None,
        outputs=lambda n: 1,
        misfit=heads.misfit,
        options={"ratio": RATIO},
        sentence=sentence,
    )


LAYERS = Option("int", default=1, sentence="number of layers")


def _untied(params: Params, x: Features, f: Elementwise) -> Features:
    return f(params["V"] @ (params["W"] @ x) + params["b"])


def _with_layers(init: Callable[..., Params], sentence: str, *, frozen: bool) -> Family:
    """A tied model with square matrices H between W and W^T (see layers.py)."""
    return Family(
        parameters={"W": ("hidden", "feature"), "H": ("layers", "hidden", "hidden"), "b": ("feature",)},
        init=init,
        apply=layers.between,
        target=_same,
        directions=_columns_of_W,
        frozen={"H": None} if frozen else {},
        options={"layers": LAYERS},
        sentence=sentence,
    )


LATENTS = Option("quantity", default=2.0**16, low=1.0, sentence="number of latents in use, from the first")


def _autoencoder(
    apply: Callable[..., Features],
    penalty: Callable[..., Scalar] | None,
    options: Mapping[str, Option],
    sentence: str,
) -> Family:
    """A dictionary of `hidden` directions (see autoencoders.py). Features of a model's input have no directions."""
    return Family(
        parameters={"E": ("hidden", "feature"), "b": ("hidden",), "D": ("feature", "hidden")},
        init=autoencoders.init,
        apply=apply,
        target=_same,
        directions=None,
        penalty=penalty,
        options={"latents": LATENTS, **options},
        sentence=sentence,
    )


FAMILIES: Registry[Family] = Registry(
    "family",
    {
        "tied": Family(
            parameters={"W": ("hidden", "feature"), "b": ("feature",)},
            init=scaled_normals,
            apply=_tied,
            target=_same,
            directions=_columns_of_W,
            gram_only=True,
            sentence="f(W^T W x + b)",
        ),
        "tied-no-bias": Family(
            parameters={"W": ("hidden", "feature")},
            init=scaled_normals,
            apply=_tied_without_bias,
            target=_same,
            directions=_columns_of_W,
            gram_only=True,
            sentence="f(W^T W x)",
        ),
        "hidden-relu": Family(
            parameters={"W": ("hidden", "feature"), "b": ("feature",)},
            init=scaled_normals,
            apply=_hidden_relu,
            target=_same,
            directions=_columns_of_W,
            neurons=True,
            sentence="f(W^T ReLU(W x) + b)",
        ),
        "absolute-value": Family(
            parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden"), "b": ("feature",)},
            init=scaled_normals,
            apply=_absolute_value,
            target=abs,
            directions=_columns_of_W,
            neurons=True,
            writes="V",
            sentence="f(V ReLU(W x) + b), whose target is |x|",
        ),
        "untied": Family(
            parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden"), "b": ("feature",)},
            init=scaled_normals,
            apply=_untied,
            target=_same,
            directions=_columns_of_W,
            sentence="f(V W x + b)",
        ),
        "tied-hidden-identity": _with_layers(
            layers.identity, "f(W^T H ... H W x + b) with `layers` matrices H frozen at the identity", frozen=True
        ),
        "tied-hidden-random": _with_layers(
            layers.random, "the same, with random H of standard deviation 1 / sqrt(m)", frozen=True
        ),
        "tied-hidden-trained": _with_layers(
            layers.identity, "the same, with H trained, from the identity on", frozen=False
        ),
        "residual-mlp": Family(
            parameters={
                "E": ("embedding", "feature"),
                "W_in": ("layers", "hidden", "embedding"),
                "W_out": ("layers", "embedding", "hidden"),
            },
            init=layers.residual_init,
            apply=layers.residual,
            target=layers.plus_relu,
            directions=layers.read_first,
            frozen={"E": None},
            options={
                "layers": LAYERS,
                "embedding": Option("int", sentence="number of dimensions of the residual stream"),
            },
            sentence="E^T h_L, h_0 = E x, h_{l+1} = h_l + W_out f(W_in h_l), E frozen unit columns; target x + ReLU(x)",
        ),
        "attention-score": _of_head(
            heads.score, {"QK": ("hidden", "feature")}, "f(x^T W_QK y): the score of a head, x and y the two halves"
        ),
        "attention-score-bias": _of_head(
            heads.score_with_bias, {"QK": ("hidden", "feature"), "b": ()}, "f(x^T W_QK y + b)"
        ),
        "attention-output": Family(
            parameters={"QK": ("hidden", "feature"), "OV": ("value_rank", "feature")},
            init=scaled_normals,
            apply=heads.attended,
            target=heads.moved,
            directions=None,
            outputs=lambda n: n // 2,
            misfit=heads.misfit,
            options={"ratio": RATIO, "value_rank": VALUE_RANK},
            sentence="f((x^T W_QK y) W_OV y): what a head moves",
        ),
        "sparse-autoencoder": _autoencoder(
            autoencoders.reconstructed,
            autoencoders.penalty,
            {"l1": Option("quantity", default=0.0, low=0.0, sentence="weight of the L1 norm of the latents")},
            "D z with z = f(E x + b) and unit columns of D, penalised by l1 |z|",
        ),
        "top-k-autoencoder": _autoencoder(
            autoencoders.reconstructed_of_top,
            None,
            {
                "active": Option(
                    "quantity",
                    low=1.0,
                    high=float(autoencoders.MOST_ACTIVE),
                    sentence="number of latents to keep, the largest",
                )
            },
            "the same without penalty, with only the largest latents",
        ),
    },
)


def add_family(
    name: str,
    *,
    parameters: Mapping[str, tuple[str, ...]],
    apply: Callable[..., Output],
    init: Callable[..., Params] = scaled_normals,
    target: Callable[..., Output] = _same,
    directions: Callable[..., Float[Array, "hidden feature"]] | None = None,
    penalty: Callable[..., Scalar] | None = None,
    outputs: Callable[..., int] = one_per_feature,
    sizes: Mapping[str, Callable[..., int]] | None = None,
    frozen: Iterable[str] | Mapping[str, Floats] = (),
    noise: Callable[..., int] | int | None = None,
    misfit: Callable[..., str | None] = _fits,
    options: Mapping[str, Option] | None = None,
    neurons: bool = False,
    writes: str | None = None,
    sentence: str = "",
) -> None:
    """Adds a model family with n features and m hidden dimensions.

    The functions are plain JAX of one sample x (n,), such as `jax.nn.relu(p["W"] @ x)`, and get the spec's options as
    keywords. Shapes are checked before a run.

    Args:
        name: By which specs find it.
        parameters: Name -> names of its dimensions: "feature" (n), "hidden" (m), "input" and "output" (those of the
            model), an option of type "int", or a key of `sizes`. Names may repeat: results call the second of
            ("hidden", "hidden") "hidden_2".
        apply: (parameters, x, f) -> output (o,); f is the spec's activation. With `noise`, a fourth argument is an
            array (k,) of uniforms on (0, 1), or None where models are evaluated without noise.
        init: (standard normals by parameter name, instance) -> parameters. Those that it leaves out start at random:
            `b` with standard deviation instance.bias_scale, every other parameter with instance.init_scale.
        target: x -> the desired output (o,); by default x. With two arguments, the second are the frozen parameters.
        directions: Parameters -> W (m, n), features as columns, for measures and maps; None: no directions. A
            parameter named W must equal this W. Receives only options of type "int".
        penalty: (parameters, x, f) -> a number that training adds to the loss of each sample. The noise-free loss,
            which ranks models, excludes it.
        outputs: The number of outputs o, a function of n, m and options of type "int" by their names; by default n.
            Output i has the importance of feature i. With more outputs than features, importance has one number each.
        sizes: Further dimensions: name -> its length, a function like `outputs`.
        frozen: Names of parameters that are not trained: no gradient, no decay. A mapping gives their values, the same
            for all models; None, like a name alone: as `init` draws them. Parameters that the loss does not reach
            differentiably are frozen, too.
        noise: The number k of uniforms for noise in `apply`, or a function like `outputs`.
        misfit: (n, m) -> why a model cannot have these sizes, or None. Receives only options of type "int".
        neurons: Whether hidden dimension k is a neuron, h_k = ReLU(W_k . x) with W_k row k of W, which the study
            "neurons" shows. Otherwise the hidden basis may be arbitrary, as that of tied models is.
        writes: The parameter (feature, hidden) with which neurons write the output; None: W^T.
        options: Keys that it adds to [model].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> tmsjax.add_family(
        ...     "skip",
        ...     parameters={"W": ("hidden", "feature"), "a": ("feature",)},
        ...     apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ x) + p["a"] * x),
        ...     directions=lambda p: p["W"],
        ... )
        >>> tmsjax.load_spec(spec, ["model.family=skip"]).model.family
        'skip'
    """
    count: Any = (lambda: noise) if isinstance(noise, int) and not isinstance(noise, bool) else noise
    if not isinstance(sizes, Mapping | None):
        raise FAMILIES.refuse(name, f"sizes must map names of dimensions to functions, not {sizes!r}")
    lengths = dict(sizes or {})
    checked_callables(FAMILIES, name, apply=apply, init=init, target=target, outputs=outputs, misfit=misfit, **lengths)
    optional = {"directions": directions, "penalty": penalty, "noise": count}
    checked_callables(FAMILIES, name, **{k: v for k, v in optional.items() if v is not None})
    if not isinstance(parameters, Mapping) or not parameters:
        raise FAMILIES.refuse(name, f"parameters must map names to dimensions, not {parameters!r}")
    named = [d for dims in parameters.values() if isinstance(dims, tuple) for d in dims if isinstance(d, str)]
    functions: list[Callable] = [apply, init, target, outputs, *lengths.values()]
    functions += [f for f in (directions, penalty, count) if f is not None]
    table = ("features", "hidden", "activation", "family", *lengths)
    checked = checked_options(FAMILIES, name, options, table=table, used=[*functions, *named])
    family = Family(
        parameters=dict(parameters), init=init, apply=apply, target=target, directions=directions, sentence=sentence,
        penalty=penalty, neurons=neurons, writes=writes, outputs=outputs, misfit=misfit, options=checked,
        frozen=_frozen(name, parameters, frozen), labelled=positional(target, checked) > 1, noise=count, sizes=lengths,
    )  # fmt: skip
    dimensions = family.dimensions
    _check_lengths(name, family)
    _check_arguments(name, family, checked)
    for parameter, dims in parameters.items():
        if not isinstance(parameter, str) or not parameter.isidentifier():
            raise FAMILIES.refuse(name, f"parameter {parameter!r} needs a name of letters, digits and '_'")
        if parameter in (RESERVED | set(dimensions)) - {"W", "b"} or parameter.startswith(RESERVED_PREFIXES):
            raise FAMILIES.refuse(name, f"parameter {parameter!r}: the name is reserved for results")
        if not isinstance(dims, tuple) or not all(d in dimensions for d in dims):
            allowed = f"a tuple of {', '.join(map(repr, dimensions))}"
            raise FAMILIES.refuse(name, f"the dimensions of {parameter!r} must be {allowed}, not {dims!r}")
        if taken := ({*_numbered(dims)} - {*dims}) & {*dimensions, *parameters}:
            why = f"{min(taken)!r} is the name of a repeated dimension of {parameter!r} in results"
            raise FAMILIES.refuse(name, why)
    if (neurons or writes is not None) and parameters.get("W") != ("hidden", "feature"):
        raise FAMILIES.refuse(name, "neurons need a parameter W of dimensions ('hidden', 'feature'), which they read")
    if writes is not None and (not neurons or parameters.get(writes) != ("feature", "hidden")):
        allowed = "a parameter of dimensions ('feature', 'hidden'), and neurons = True"
        raise FAMILIES.refuse(name, f"writes must name {allowed}, not {writes!r}")
    if not isinstance(neurons, bool) or (neurons and directions is None):
        raise FAMILIES.refuse(name, f"neurons must be False, or True with directions, not {neurons!r}")
    FAMILIES.add(name, family)


def _frozen(
    name: str, parameters: Mapping, frozen: Iterable[str] | Mapping[str, Floats]
) -> dict[str, np.ndarray | None]:
    """The frozen parameters, each with its given value or None."""
    names = [frozen] if isinstance(frozen, str) else frozen
    given = dict(frozen) if isinstance(frozen, Mapping) else dict.fromkeys(names)
    for parameter in given:
        if parameter not in parameters:
            known = ", ".join(parameters)
            raise FAMILIES.refuse(name, f"frozen names {parameter!r}, which is not a parameter (parameters: {known})")
    if given and len(given) == len(parameters):
        raise FAMILIES.refuse(name, "all parameters are frozen; at least one must be trained")
    return {key: None if value is None else _given(name, key, value) for key, value in given.items()}


def _given(name: str, key: str, value: object) -> np.ndarray:
    try:
        array = np.asarray(value).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError):
        raise FAMILIES.refuse(name, f"frozen: {key!r} must be an array of numbers or None") from None
    if not np.isfinite(array).all():
        raise FAMILIES.refuse(name, f"frozen: {key!r} has values that are not finite")
    return array


def _check_lengths(name: str, family: Family) -> None:
    """Refuses a size whose name is taken, or whose function has other arguments than those that it may have."""
    may = ["n", "m", *(key for key, option in family.options.items() if option.type == "int")]
    for dim in family.sizes:
        if not isinstance(dim, str) or not dim.isidentifier() or family.dimensions.count(dim) > 1 or dim in RESERVED:
            raise FAMILIES.refuse(name, f"sizes: {dim!r} cannot name a dimension; use another name of letters")
    lengths = {f"the size of {dim!r}": length for dim, length in family.sizes.items()} | {"outputs": family.outputs}
    for what, length in (lengths if family.noise is None else lengths | {"noise": family.noise}).items():
        if unknown := [key for key in list(inspect.signature(length).parameters)[1:] if key not in may]:
            raise FAMILIES.refuse(name, f"{what} has an argument {unknown[0]!r}; it may have {', '.join(may)}")


def _check_arguments(name: str, family: Family, options: Mapping[str, Option]) -> None:
    """Refuses functions with more arguments than they get."""
    gets = ["parameters", "x", "f", *["noise"] * (family.noise is not None)]
    if (found := positional(family.apply, options)) > len(gets):
        why = f"apply has {found} arguments, but gets {', '.join(gets)}; declare others in options"
        raise FAMILIES.refuse(name, why if family.noise is not None else f"{why}, or give noise")
    if (found := positional(family.target, options)) > 2:
        raise FAMILIES.refuse(name, f"target has {found} arguments; it gets x, or x and the frozen parameters")
    if found == 2 and not family.frozen:
        why = "the second argument of target are the frozen parameters, but there are none; freeze some"
        raise FAMILIES.refuse(name, f"{why}, or declare an option")

"""The problem of a sweep: model, data, loss and optimizer of one instance, as pure functions with names resolved.

`bind` looks up every name of a spec once. All functions are plain JAX on the small arrays of one instance and one
sample; the engine maps them over samples and instances. Two problems are equal if their entries (the registered
objects, not their names) and sizes are, so that a compiled program can be kept for a problem.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from tmsjax.kinds import ACTIVATIONS, FAMILIES, OPTIMIZERS, SCHEDULES, Activation, Family, Optimizer, Schedule, called
from tmsjax.kinds.arrays import Array, Bits, Count, Features, Floats, Number, Output, Params, Scalar
from tmsjax.models import expected, sampling, training_set
from tmsjax.models.attack import attacked
from tmsjax.models.instances import Instance
from tmsjax.models.loss import linear_loss, weighted_square
from tmsjax.models.sampling import Sampler
from tmsjax.spec import ATTACK, SAMPLES, Spec, option_quantities, static

Row = list[Floats]  # over features
Overlaps = tuple[list[Row], Row, Row, Row, Mapping[str, Floats]]


@dataclass(frozen=True)
class Problem:
    """Pure functions of one instance, and static sizes.

    Attributes:
        family, activation, sampler, optimizer, schedule: The entries that the spec names.
        features, hidden: n and m.
        options: The family's options of type "int".
        quantities: Names of the options that are numbers of an instance (the keys of Instance.options).
        stored: Sizes (m, n) of the stored models whose hidden layers are the data; None: samples are the data.
        neurons: Whether the hidden layer of a stored model is ReLU(W x).
        batch: Samples per step.
        streams: How the random bits of instances relate: "independent", "shared" or "sobol".
        exact: Which exact loss is known: "relu", "linear" or None.
        trains_exactly: Whether training uses the exact loss, not samples.
        momentum, decays: Of the optimizer: its momentum, and whether weights decay.
        stratified: Whether signs of W at init are stratified over replicas.
    """

    family: Family
    activation: Activation
    sampler: Sampler
    optimizer: Optimizer
    schedule: Schedule
    features: int
    hidden: int
    options: tuple[tuple[str, int], ...]
    quantities: tuple[str, ...]
    stored: tuple[int, int] | None
    neurons: bool
    batch: int
    streams: str
    exact: str | None
    trains_exactly: bool
    momentum: float
    decays: bool
    stratified: bool

    @property
    def sizes(self) -> dict[str, int]:
        """The length of every named dimension."""
        return {"feature": self.features, "hidden": self.hidden, **dict(self.options)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter of one instance."""
        length = self.sizes
        return {name: tuple(length[d] for d in dims) for name, dims in self.family.parameters.items()}

    @property
    def parameters(self) -> int:
        """The number of parameters of one instance."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def weights(self) -> int:
        """The number of weights, not counting biases, of the larger of a model and the stored model that it reads."""
        matrices = sum(math.prod(shape) for shape in self.shapes.values() if len(shape) > 1)
        return max(self.features * self.hidden, matrices, math.prod(self.stored or (0,)))

    @property
    def finite(self) -> bool:
        """Whether instances have training sets, instead of fresh samples at every step."""
        return SAMPLES in self.quantities

    @property
    def columns(self) -> int:
        """The number of uniforms per sample."""
        return self.sampler.columns

    @property
    def exact_on_arrays(self) -> bool:
        """Whether the exact loss consists of matrix products, which are faster on arrays than on scalars."""
        return self.exact == "linear" or (self.exact == "relu" and self.sampler.drawn.most_active() == 1)

    @property
    def instance(self) -> Instance:
        """Shapes and types of an instance's arrays, as jax.ShapeDtypeStruct."""
        number, word = np.zeros((), np.float32), np.zeros((), np.uint32)
        words, per_feature = np.zeros(2, np.uint32), np.zeros(self.features, np.float32)
        source: dict[str, np.ndarray] = {}
        if self.stored is not None:
            options = self.sampler.drawn.activity.options
            source = {f"data.{key}": number for key, option in options.items() if option.type == "quantity"}
            source["W"] = np.zeros(self.stored, np.float32)
            source["feature_probability"] = np.zeros(self.stored[1], np.float32)
        zeros = Instance(
            importance=per_feature,
            feature_probability=per_feature,
            learning_rate=number,
            weight_decay=number,
            init_scale=number,
            bias_scale=number,
            identity=words,
            cell=words,
            replica=word,
            options=dict.fromkeys(self.quantities, number),
            source=source,
        )
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), zeros)

    def init(self, normals: Params, instance: Instance) -> Params:
        """The parameters before step 0, from standard normals by parameter name."""
        if self.stratified:
            normals = {**normals, "W": _stratified(normals["W"], instance)}
        params = called(self.family.init, normals, instance, options=self._options(instance))
        return _on_polygon(params, **instance.own("init")) if "init.polygon" in instance.options else params

    def sample(self, bits: Bits, instance: Instance) -> Features:
        """The input x of a model, from random bits: a sample's features, or a stored model's hidden layer."""
        if self.stored is None:
            return self.sampler.sample(bits, instance.feature_probability, instance.own("data"))
        source = instance.source
        own = {k.removeprefix("data."): v for k, v in source.items() if k.startswith("data.")}
        h = source["W"] @ self.sampler.sample(bits, source["feature_probability"], own)
        return sampling.positive(h) if self.neurons else h

    def target(self, x: Features, instance: Instance) -> Output:
        """The desired output for one input."""
        return called(self.family.target, x, options=self._options(instance))

    def output(self, params: Params, x: Features, instance: Instance) -> Output:
        """The model's output for one input; one output per feature, unless its family says otherwise."""
        return called(self.family.apply, params, x, self.activation.function, options=self._options(instance))

    def penalty(self, params: Params, x: Features, instance: Instance) -> Scalar | None:
        """The penalty that training adds to the loss of one sample; None if the family has none."""
        if self.family.penalty is None:
            return None
        return called(self.family.penalty, params, x, self.activation.function, options=self._options(instance))

    def directions(self, params: Params) -> Float[Array, "hidden feature"] | None:
        """W, features as columns; None if features have no directions."""
        if self.family.directions is None:
            return None
        return called(self.family.directions, params, options=dict(self.options))

    def loss(self, params: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """Sum over outputs of I_i (target_i - output_i)^2 of one sample: random bits `word`, which `offset` shifts."""
        x = self.sample(sampling.rotate(word, offset, self.streams), instance)
        return weighted_square(self.target(x, instance) - self.output(params, x, instance), instance.importance)

    def zero_loss(self, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """`loss` of a model whose output is 0."""
        x = self.sample(sampling.rotate(word, offset, self.streams), instance)
        return weighted_square(self.target(x, instance), instance.importance)

    def training_loss(self, params: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """`loss` as training sees it: with attack, penalty and weight of the sample, where they exist.

        For finite training sets, `word` and `offset` have one more column (see training_set.py).
        """
        share = None
        if self.finite:
            bits, share = training_set.member(word, offset, self.batch)
        else:
            bits = sampling.rotate(word, offset, self.streams)
        x = self.sample(bits, instance)
        target = self.target(x, instance)
        if ATTACK in instance.options:
            radius, f = instance.options[ATTACK], self.activation.function
            x = attacked(params, x, target, instance.importance, f, radius)
        loss = weighted_square(target - self.output(params, x, instance), instance.importance)
        if (penalty := self.penalty(params, x, instance)) is not None:
            loss = loss + penalty
        return loss if share is None else share * loss

    def exact_loss(self, params: Params, instance: Instance) -> Scalar:
        """The exact expected loss. Raises ValueError if none is known."""
        if self.exact is None:
            raise ValueError("no exact loss is known for this model")
        if not self.exact_on_arrays:
            return self.exact_of_overlaps(*self.overlaps(params, instance))
        W, p, importance = params["W"], instance.feature_probability, instance.importance
        drawn = sampling.with_own(self.sampler.drawn, instance.own("data"))
        if self.exact == "linear":
            mean, covariance = (f(p, drawn, self.sampler.values) for f in (sampling.mean, sampling.covariance))
            return linear_loss(W, params.get("b", np.float32(0)), importance, mean, covariance)
        b = params.get("b", jnp.zeros_like(importance))
        return expected.relu_loss_of_single_features(W.T @ W, b, importance, drawn.marginal(p))

    def overlaps(self, params: Params, instance: Instance) -> Overlaps:
        """What the exact loss of a ReLU model depends on, as lists of numbers: W_i . W_j, b, I, p, and own options."""
        W, features = params["W"], range(self.features)
        gram = [[(W[:, i] * W[:, j]).sum() for j in features] for i in features]
        biases = params["b"] if "b" in params else [jnp.zeros_like(gram[0][0])] * self.features
        b, importance, p = (
            [v[i] for i in features] for v in (biases, instance.importance, instance.feature_probability)
        )
        return gram, b, importance, p, instance.own("data")

    def exact_of_overlaps(self, gram: list[Row], b: Row, importance: Row, p: Row, own: Mapping[str, Floats]) -> Floats:
        """The exact loss of a ReLU model from its `overlaps`."""
        return expected.relu_loss_elementwise(gram, b, importance, p, sampling.with_own(self.sampler.drawn, own))

    def update(
        self, grads: Params, opt_state: optax.OptState, params: Params, instance: Instance, steps: Count
    ) -> tuple[Params, optax.OptState]:
        """(parameters, optimizer state) after a step along `grads`, of a training of `steps` steps."""
        updates, opt_state = self.optimized(instance, steps).update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def optimized(self, instance: Instance, steps: Count) -> optax.GradientTransformation:
        """The optax optimizer with this instance's learning rate and weight decay."""

        def rate(step: Count) -> Number:
            return instance.learning_rate * self.schedule.factor(step, steps)

        return self.optimizer.make(rate, instance, self.momentum, self.decays)

    def _options(self, instance: Instance) -> dict[str, Number]:
        return {**dict(self.options), **instance.own("model")}


def bind(spec: Spec) -> Problem:
    """The problem that a spec describes.

    Raises:
        SpecError: The run that `data.run` names is not read yet.
        KeyError: An entry is not registered in this process.
    """
    model, train, optimizer = spec.model, spec.train, OPTIMIZERS[spec.train.optimizer]
    return Problem(
        family=FAMILIES[model.family],
        activation=ACTIVATIONS[model.activation],
        sampler=Sampler.of(*spec.samples),
        optimizer=optimizer,
        schedule=SCHEDULES[train.schedule],
        features=model.features,
        hidden=model.hidden,
        options=static(model.options),
        quantities=tuple(sorted(option_quantities(spec))),
        stored=None if spec.source is None else spec.source.sizes,
        neurons=spec.source is not None and spec.source.neurons,
        batch=train.batch,
        streams=train.streams,
        exact=spec.exact_loss,
        trains_exactly=train.loss == "exact",
        momentum=train.momentum,
        decays="weight_decay" in optimizer.uses and train.weight_decay != 0.0,  # a number, not an axis
        stratified=spec.init.signs == "stratified",
    )


def _stratified(W: Float[Array, "1 feature"], instance: Instance) -> Float[Array, "1 feature"]:
    """W with the signs of features 2, 3, ... relative to the first set by the bits of the replica's number.

    A 0 bit gives the opposite sign. Random bits of the cell flip all bits but the first, so that a few replicas of many
    features favour no sign. Any 2^(n - 1) consecutive replicas of a cell cover every pattern once.
    """
    code = instance.replica ^ (instance.cell[0] & ~np.uint32(1))
    features = min(W.shape[1] - 1, 32)
    bit = (code >> jnp.arange(features, dtype=jnp.uint32)) & np.uint32(1)
    relative = jnp.where(bit == 0, np.float32(-1), np.float32(1)) * jnp.sign(W[0, 0])
    return jnp.concatenate([W[:, :1], relative[None] * jnp.abs(W[:, 1 : features + 1]), W[:, features + 1 :]], axis=1)


def _on_polygon(params: Params, polygon: Number, polygon_norm: Number, polygon_bias: Number) -> Params:
    """Adds a regular polygon to W, and its biases to b if there are any: features 0 to `polygon` - 1 (m = 2)."""
    number = jnp.arange(params["W"].shape[1], dtype=jnp.float32)
    angle = number * (2 * np.pi / jnp.maximum(polygon, 1))
    length = jnp.where(number < polygon, polygon_norm, 0)
    moved = {"W": params["W"] + length[None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)])}
    if "b" in params:
        moved["b"] = params["b"] + jnp.where(number < polygon, polygon_bias, 0)
    return {**params, **moved}

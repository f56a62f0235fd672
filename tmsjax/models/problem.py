"""The problem of a sweep: model, data, loss and optimizer of one instance, as pure functions with names resolved.

`bind` looks up every name of a spec once. All functions are plain JAX on the small arrays of one instance and one
sample; the engine maps them over samples and instances. Two problems are equal if their entries (the registered
objects, not their names) and sizes are, so that a compiled program can be kept for a problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from tmsjax.kinds import (
    ACTIVATIONS,
    FAMILIES,
    INITS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Activation,
    Family,
    Init,
    Loss,
    Optimizer,
    Schedule,
    called,
    scaled_normals,
)
from tmsjax.kinds.arrays import Array, Bits, Count, Features, Floats, Output, Params, Scalar
from tmsjax.models import expected, sampling, training_set
from tmsjax.models import optimized as optimizers
from tmsjax.models.instance import Instance
from tmsjax.models.loss import linear_loss, weighted
from tmsjax.models.reach import unreached
from tmsjax.models.sampling import FeatureSampler, FunctionSampler, HiddenSampler, RowSampler, Sampler
from tmsjax.spec import SAMPLES, Spec, option_quantities, per_feature, static

T = TypeVar("T")
Row = list[Floats]  # over features
Overlaps = tuple[list[Row], Row, Row, Row, Mapping[str, Floats]]


@dataclass(frozen=True)
class Problem:
    """Pure functions of one instance, and static sizes.

    Attributes:
        family, activation, sampler, loss_kind, rule, optimizer, schedule: The entries that the spec names.
        features, hidden: n and m.
        lengths: The length of every dimension that parameters can have.
        options: Options that are the same for all instances, by "table.key".
        quantities: Names of the options that are numbers of an instance (the keys of Instance.options).
        wide: Those of them that have one number per feature.
        noises: The number of uniforms for noise in the model.
        noisy: Whether models have their noise when they are evaluated, too.
        batch: Samples per step.
        streams: How the random bits of instances relate: "independent", "shared" or "sobol".
        exact: Which exact loss is known: "relu", "linear" or None.
        trains_exactly: Whether training uses the exact loss, not samples.
        momentum, decays: Of the optimizer: its momentum, and whether weights decay.
    """

    family: Family
    activation: Activation
    sampler: Sampler
    loss_kind: Loss
    rule: Init
    optimizer: Optimizer
    schedule: Schedule
    features: int
    hidden: int
    lengths: tuple[tuple[str, int], ...]
    options: tuple[tuple[str, Any], ...]
    quantities: tuple[str, ...]
    wide: frozenset[str]
    noises: int
    noisy: bool
    batch: int
    streams: str
    exact: str | None
    trains_exactly: bool
    momentum: float
    decays: bool

    @property
    def sizes(self) -> dict[str, int]:
        """The length of every named dimension."""
        return dict(self.lengths)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter of one instance."""
        length = self.sizes
        return {name: tuple(length[d] for d in dims) for name, dims in self.family.parameters.items()}

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the parameters that are not trained: those of the family, and those that the loss does not reach."""
        return _frozen(self)

    @property
    def parameters(self) -> int:
        """The number of parameters of one instance."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def weights(self) -> int:
        """The number of weights, not counting biases, of the larger of a model and the stored model that it reads."""
        matrices = sum(math.prod(shape) for shape in self.shapes.values() if len(shape) > 1)
        return max(self.features * self.hidden, matrices, self.sampler.weights)

    @property
    def finite(self) -> bool:
        """Whether instances have training sets, instead of fresh samples at every step."""
        return SAMPLES in self.quantities

    @property
    def rows(self) -> int:
        """The number of rows that training sees in epochs; 0: there are no epochs."""
        return len(self.sampler.rows.array) if isinstance(self.sampler, RowSampler) and self.sampler.epochs else 0

    @property
    def columns(self) -> int:
        """The number of uniforms per sample."""
        return self.sampler.columns + self.noises

    @property
    def exact_on_arrays(self) -> bool:
        """Whether the exact loss consists of matrix products, which are faster on arrays than on scalars."""
        return self.exact == "linear" or (self.exact == "relu" and self._features.drawn.most_active() == 1)

    @property
    def _features(self) -> FeatureSampler:
        assert isinstance(self.sampler, FeatureSampler)  # as exact losses need
        return self.sampler

    @property
    def instance(self) -> Instance:
        """Shapes and types of an instance's arrays, as jax.ShapeDtypeStruct."""
        number, word = np.zeros((), np.float32), np.zeros((), np.uint32)
        words, per_feature = np.zeros(2, np.uint32), np.zeros(self.features, np.float32)
        outputs = np.zeros(max(self.features, self.sizes["output"]), np.float32)
        zeros = Instance(
            importance=outputs,
            feature_probability=per_feature,
            learning_rate=number,
            weight_decay=number,
            init_scale=number,
            bias_scale=number,
            identity=words,
            cell=words,
            replica=word,
            options={name: per_feature if name in self.wide else number for name in self.quantities},
            source=self.sampler.source if isinstance(self.sampler, HiddenSampler) else {},
        )
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), zeros)

    def init(self, normals: Params, instance: Instance) -> Params:
        """The parameters before step 0, from standard normals by parameter name."""
        drawn = called(self.family.init, normals, instance, options=self.options_of("model", instance))
        given = {name: value for name, value in self.family.frozen.items() if value is not None}
        params = {**scaled_normals(normals, instance), **drawn, **given}
        params |= called(self.rule.function, params, instance, options=self.options_of("init", instance))
        params |= given
        return {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}

    def sample(self, bits: Bits, instance: Instance) -> Floats:
        """The input x of a model, from the random bits of a sample."""
        return self.sampler.sample(bits[: self.sampler.columns] if self.noises else bits, instance)

    def target(self, x: Floats, params: Params, instance: Instance) -> Output:
        """The desired output for one input."""
        frozen = [{name: params[name] for name in self.family.frozen}] if self.family.labelled else []
        return called(self.family.target, x, *frozen, options=self.options_of("model", instance))

    def output(self, params: Params, x: Floats, instance: Instance, noise: Floats | None = None) -> Output:
        """The model's output for one input; one output per feature, unless its family says otherwise."""
        last = [noise] if self.noises else []
        options = self.options_of("model", instance)
        return called(self.family.apply, params, x, self.activation.function, *last, options=options)

    def penalty(self, params: Params, x: Floats, instance: Instance) -> Scalar | None:
        """The penalty that training adds to the loss of one sample; None if the family has none."""
        if self.family.penalty is None:
            return None
        options = self.options_of("model", instance)
        return called(self.family.penalty, params, x, self.activation.function, options=options)

    def directions(self, params: Params) -> Float[Array, "hidden feature"] | None:
        """W, features as columns; None if features have no directions."""
        if self.family.directions is None:
            return None
        return called(self.family.directions, params, options=self._static("model"))

    def loss(self, params: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """The loss of one sample that ranks models: random bits `word`, which `offset` shifts."""
        bits = sampling.rotate(word, offset, self.streams)
        x = self.sample(bits, instance)
        noise = self._noise(bits) if self.noisy else None

        def apply(x: Floats) -> Output:
            return self.output(params, x, instance, noise)

        return weighted(self._error(self.loss_kind.ranking, params, x, instance, apply), instance.importance)

    def zero_loss(self, params: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """`loss` of a model whose output is 0."""
        x = self.sample(sampling.rotate(word, offset, self.streams), instance)
        nothing = jnp.zeros(self.sizes["output"], jnp.float32)
        error = self._error(self.loss_kind.ranking, params, x, instance, lambda x: nothing)
        return weighted(error, instance.importance)

    def training_loss(self, params: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        """The loss of one sample as training sees it: with noise, penalty and weight of the sample, where they exist.

        For finite training sets, `word` and `offset` have one more column (see training_set.py).
        """
        share = None
        if self.finite:
            bits, share = training_set.member(word, offset, self.batch)
        else:
            bits = sampling.rotate(word, offset, self.streams)
        x, noise = self.sample(bits, instance), self._noise(bits)

        def apply(x: Floats) -> Output:
            return self.output(params, x, instance, noise)

        error = self._error(self.loss_kind.function, params, x, instance, apply)
        loss = weighted(error, instance.importance)
        if (penalty := self.penalty(params, x, instance)) is not None:
            loss = loss + penalty
        return loss if share is None else share * loss

    def error_of(self, loss: Callable) -> Callable[[Params, Instance, Bits], Output | Scalar]:
        """A loss of one sample as a function of (parameters, instance, bits), before it is weighted and summed."""

        def error(params: Params, instance: Instance, bits: Bits) -> Output | Scalar:
            x, noise = self.sample(bits, instance), self._noise(bits)
            return self._error(loss, params, x, instance, lambda x: self.output(params, x, instance, noise))

        return error

    def _noise(self, bits: Bits) -> Floats | None:
        return sampling.between(bits[self.sampler.columns :]) if self.noises else None

    def _error(
        self, loss: Callable, params: Params, x: Floats, instance: Instance, apply: Callable[[Floats], Output]
    ) -> Output | Scalar:
        """A loss of one sample, with what its signature names: one number per output, or one number."""
        importance, outputs = instance.importance, self.sizes["output"]
        given: dict[str, Any] = {
            "importance": importance if outputs == importance.shape[0] else importance[:outputs],
            "x": x,
            "params": params,
            "f": self.activation.function,
            "apply": apply,
        }
        target = self.target(x, params, instance)
        return called(loss, target, apply(x), options={**given, **self.options_of("loss", instance)})

    def exact_loss(self, params: Params, instance: Instance) -> Scalar:
        """The exact expected loss. Raises ValueError if none is known."""
        if self.exact is None:
            raise ValueError("no exact loss is known for this model")
        if not self.exact_on_arrays:
            return self.exact_of_overlaps(*self.overlaps(params, instance))
        W, p, importance = params["W"], instance.feature_probability, instance.importance
        if self.exact == "linear":
            mean, covariance = self.moments(instance)
            return linear_loss(W, params.get("b", np.float32(0)), importance, mean, covariance)
        drawn = sampling.with_own(self._features.drawn, instance.own("data"))
        b = params.get("b", jnp.zeros_like(importance))
        return expected.relu_loss_of_single_features(W.T @ W, b, importance, drawn.marginal(p))

    def moments(self, instance: Instance) -> tuple[Features, Float[Array, "feature feature"]]:
        """E x and Cov x, where they are given."""
        p, sampler = instance.feature_probability, self.sampler
        if isinstance(sampler, FunctionSampler):
            options = self.options_of("data", instance)
            mean, covariance = sampler.entry.mean, sampler.entry.covariance
            assert mean is not None  # as exact losses need
            assert covariance is not None
            return called(mean, p, options=options), called(covariance, p, options=options)
        drawn = sampling.with_own(self._features.drawn, instance.own("data"))
        values = self._features.values
        return sampling.mean(p, drawn, values), sampling.covariance(p, drawn, values)

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
        return expected.relu_loss_elementwise(gram, b, importance, p, sampling.with_own(self._features.drawn, own))

    def update(
        self, grads: Params, opt_state: optax.OptState, params: Params, instance: Instance, steps: Count
    ) -> tuple[Params, optax.OptState]:
        """(parameters, optimizer state) after a step along `grads`, of a training of `steps` steps.

        `grads` and `opt_state` have the trained parameters only.
        """
        trained = self.trained(params)
        updates, opt_state = self.optimized(instance, steps).update(grads, opt_state, trained)
        for name, rate in optimizers.by_parameter(instance.own("train"), "rates").items():
            updates = {**updates, name: rate * updates[name]}
        return {**params, **optax.apply_updates(trained, updates)}, opt_state

    def trained(self, params: Mapping[str, T]) -> dict[str, T]:
        """`params` without frozen parameters."""
        frozen = self.frozen
        return {name: x for name, x in params.items() if name not in frozen}

    def optimized(self, instance: Instance, steps: Count) -> optax.GradientTransformation:
        """The optax optimizer of the trained parameters, with this instance's learning rate, decay and options."""
        return optimizers.optimized(self, instance, steps)

    def options_of(self, table: str, instance: Instance) -> dict[str, Any]:
        """The options of one table of the spec, by key."""
        return {**self._static(table), **instance.own(table)}

    def _static(self, table: str) -> dict[str, Any]:
        return {k.partition(".")[2]: v for k, v in self.options if k.startswith(f"{table}.")}


@lru_cache(maxsize=64)
def _frozen(problem: Problem) -> frozenset[str]:
    declared = frozenset(problem.family.frozen)
    if problem.trains_exactly:  # exact losses reach all parameters
        return declared
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    word = jax.ShapeDtypeStruct((problem.columns + problem.finite,), np.uint32)
    return declared | unreached(problem.training_loss, params, problem.instance, word, word)


def bind(spec: Spec) -> Problem:
    """The problem that a spec describes.

    Raises:
        SpecError: The run that `data.run` names is not read yet.
        KeyError: An entry is not registered in this process.
    """
    model, train, optimizer = spec.model, spec.train, OPTIMIZERS[spec.train.optimizer]
    quantities = tuple(sorted(option_quantities(spec)))
    return Problem(
        family=FAMILIES[model.family],
        activation=ACTIVATIONS[model.activation],
        sampler=sampling.sampler_of(spec),
        loss_kind=LOSSES[spec.loss.kind],
        rule=INITS[spec.init.rule],
        optimizer=optimizer,
        schedule=SCHEDULES[train.schedule],
        features=model.features,
        hidden=model.hidden,
        lengths=tuple(spec.sizes.items()),
        options=tuple(
            (f"{table}.{key}", value)
            for table in ("model", "data", "train", "loss", "init")
            for key, value in static(getattr(spec, table).options)
        ),
        quantities=quantities,
        wide=frozenset(name for name in quantities if per_feature(spec, name)),
        noises=spec.noises,
        noisy=spec.evaluation.noise == "on",
        batch=train.batch,
        streams=train.streams,
        exact=spec.exact_loss,
        trains_exactly=train.loss == "exact",
        momentum=train.momentum,
        decays="weight_decay" in optimizer.uses and train.weight_decay != 0.0,  # a number, not an axis
    )

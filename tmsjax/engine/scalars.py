"""Small arrays held as separate scalars, and plain JAX functions evaluated on them.

Under vmap over instances, an array of shape (m, n) becomes (instances, m, n), and XLA vectorises over the tiny last
dimension. m * n scalars instead become m * n vectors over instances, on which every operation uses the full SIMD width.
`on_scalars` turns a function of small arrays into the same function of scalars: jax traces it once on its array shapes,
and the operations found are applied element by element. Rearrangements of elements (slices, reshapes, concatenation)
cost nothing. Sums add from the first element on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial, reduce
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.tree_util import PyTreeDef

from tmsjax.kinds.arrays import Array

T = TypeVar("T")
Atom = Var | Literal
Shape = tuple[int, ...]
Kind = tuple[Shape, np.dtype, bool]  # of an array: shape, type, whether the type is weak
_NAMES = """abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type cbrt ceil clamp clz
    convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite
    le lgamma log log1p logistic lt max min mul ne neg nextafter not or population_count pow reduce_precision rem round
    rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub
    tan tanh xor"""
ELEMENTWISE = frozenset(_NAMES.split())
REARRANGING = {  # which operands are positions
    "dynamic_slice": slice(1, None),
    "dynamic_update_slice": slice(2, None),
    "gather": slice(1, 2),
    "pad": slice(0, 0),
    "rev": slice(0, 0),
    "scatter": slice(1, 2),
    "split": slice(0, 0),
}
VIEWS: dict[str, Callable] = {  # rearrangements that numpy has, too
    "broadcast_in_dim": lambda x, *, shape, broadcast_dimensions, **_: _broadcast(x, shape, broadcast_dimensions),
    "concatenate": lambda *x, dimension: np.concatenate(x, dimension),
    "expand_dims": lambda x, *, dimensions: np.expand_dims(x, dimensions),
    "reshape": lambda x, *, new_sizes, **_: x.reshape(new_sizes),
    "slice": lambda x, *, start_indices, limit_indices, strides: x[
        tuple(map(slice, start_indices, limit_indices, strides or [1] * x.ndim))
    ],
    "squeeze": lambda x, *, dimensions: np.squeeze(x, dimensions),
    "stack": lambda *x, axis: np.stack(x, axis),
    "tile": lambda x, *, reps: np.tile(x, reps),
    "transpose": lambda x, *, permutation: x.transpose(permutation),
}
FOLDS: dict[str, Callable] = {
    "reduce_sum": lax.add,
    "reduce_prod": lax.mul,
    "reduce_max": lax.max,
    "reduce_min": lax.min,
    "reduce_and": lax.bitwise_and,
    "reduce_or": lax.bitwise_or,
    "reduce_xor": lax.bitwise_xor,
}
CUMULATIVE: dict[str, Callable] = {
    "cumsum": lax.add,
    "cumprod": lax.mul,
    "cummax": lax.max,
    "cummin": lax.min,
    "cumlogsumexp": jnp.logaddexp,
}
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
MOST_ELEMENTS = 2**16  # of one array
MOST_STEPS = 64  # of a scan, which is unrolled


class NeedsArrays(Exception):
    """A function uses an operation that cannot be applied element by element: its name, and where it is written."""

    def __str__(self) -> str:
        return " in ".join(self.args)


@jax.tree_util.register_pytree_node_class
class Scalars:
    """An array of static `shape` as a flat tuple of scalars, each of which may carry batch dimensions."""

    parts: tuple[Array, ...]

    def __init__(self, parts: tuple, shape: Shape):  # jax also puts axes, shapes and such in place of arrays
        self.parts, self.shape = parts, shape

    def tree_flatten(self) -> tuple[tuple, Shape]:
        return self.parts, self.shape

    @classmethod
    def tree_unflatten(cls, shape: Shape, parts: Sequence) -> Scalars:
        return cls(tuple(parts), shape)


Held = Array | Scalars
HeldParams = Mapping[str, Held]
Flat = tuple[Array, ...]  # the elements of an array


def split(array: Array, batch_dims: int = 1) -> Scalars:
    """`array` (`*batch, *shape`) as Scalars of `shape`, whose parts have shape batch."""
    shape = array.shape[batch_dims:]
    flat = array.reshape(*array.shape[:batch_dims], math.prod(shape))
    return Scalars(tuple(flat[..., i] for i in range(math.prod(shape))), shape)


def join(scalars: Scalars) -> jax.Array:
    """The inverse of `split`: `(*batch, *shape)`."""
    stacked = jnp.stack(scalars.parts, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *scalars.shape)


def joined(tree: T) -> T:
    """`tree` with every Scalars joined to one array (see `join`); arrays are unchanged."""
    return jax.tree.map(lambda x: join(x) if _is_scalars(x) else x, tree, is_leaf=_is_scalars)


def held_as_scalars(tree: object) -> bool:
    """Whether any array of `tree` is held as Scalars."""
    return any(map(_is_scalars, jax.tree.leaves(tree, is_leaf=_is_scalars)))


def _is_scalars(x: object) -> bool:
    return isinstance(x, Scalars)


def on_scalars(function: Callable[..., T], *args: object) -> T:
    """`function(*args)`, where arguments hold Scalars in place of arrays; so does the result.

    Without Scalars it is a plain call. `function` is hashable; it is traced once for each combination of shapes.

    Raises:
        NeedsArrays: `function` uses an operation that scalars do not have.
    """
    leaves, tree = jax.tree.flatten(args, is_leaf=_is_scalars)
    if not any(map(_is_scalars, leaves)):
        return function(*args)
    shapes = tuple(_shape_of(leaf) for leaf in leaves)
    closed, out = traced(function, tree, shapes)
    values = [objects(leaf.parts, leaf.shape) if _is_scalars(leaf) else _element(leaf) for leaf in leaves]
    results = evaluate(closed, values)
    return jax.tree.unflatten(out, [Scalars(tuple(x.flat), x.shape) if x.ndim else jnp.asarray(x[()]) for x in results])


@lru_cache(maxsize=256)
def traced(function: Callable, tree: PyTreeDef, kinds: tuple[Kind, ...]) -> tuple[ClosedJaxpr, PyTreeDef]:
    """(jaxpr of `function`, tree of its result) for arguments with this tree of arrays."""
    leaves = [jax.ShapeDtypeStruct(shape, dtype, weak_type=weak) for shape, dtype, weak in kinds]
    closed, out = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, leaves))
    return closed, jax.tree.structure(out)


def reason_for_arrays(function: Callable, *args: object) -> str | None:
    """Which operation of `function`, and where, needs arrays; None if it runs on scalars. `args` are made of shapes."""
    leaves, tree = jax.tree.flatten(args)
    closed, _ = traced(function, tree, tuple(map(_shape_of, leaves)))
    try:
        evaluate(closed, [_filled(leaf.shape, _UNKNOWN) for leaf in leaves], dry=True)
    except NeedsArrays as reason:
        return str(reason)
    return None


def _shape_of(leaf: Held | jax.ShapeDtypeStruct) -> Kind:
    one = leaf.parts[0] if isinstance(leaf, Scalars) else leaf
    return leaf.shape, one.dtype, getattr(one, "weak_type", False)


def _broadcast(x: np.ndarray, shape: Shape, dimensions: Sequence[int | np.integer]) -> np.ndarray:
    sizes = [1] * len(shape)
    for size, dimension in zip(x.shape, dimensions, strict=True):
        sizes[dimension] = size
    return np.broadcast_to(x.reshape(sizes), shape)


_UNKNOWN = object()  # an element during a dry run


def objects(parts: Sequence, shape: Shape) -> np.ndarray:
    """An object array of `shape` that holds `parts` as they are."""
    out = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        out[i] = part
    return out.reshape(shape)


def _element(x: object) -> np.ndarray:
    return objects([x], ())


def _filled(shape: Shape, value: object) -> np.ndarray:
    return objects([value] * math.prod(shape), shape)


def _elements(x: Array) -> np.ndarray:
    """An array of numbers as an object array of numpy scalars, which keep their type."""
    x = np.asarray(x)
    return x if x.dtype == object else objects(list(x.reshape(-1)), x.shape)


def evaluate(closed: ClosedJaxpr, values: Sequence[np.ndarray], dry: bool = False) -> list[np.ndarray]:
    """The results of a jaxpr on object arrays of scalars. `dry`: applies nothing; elements are placeholders."""
    with np.errstate(all="ignore"):
        return _Evaluation(dry).results(closed, list(values))


class _Evaluation:
    """Applies the equations of a jaxpr to object arrays. Known numbers are numpy arrays of numbers."""

    def __init__(self, dry: bool):
        self.dry = dry

    def results(self, closed: ClosedJaxpr, values: list[np.ndarray]) -> list[np.ndarray]:
        return [_elements(x) for x in self._run(closed.jaxpr, closed.consts, values)]

    def _run(self, jaxpr: Jaxpr, consts: Sequence[Array], values: Sequence[np.ndarray]) -> list[np.ndarray]:
        known = dict(zip(jaxpr.invars, values, strict=True))
        known |= {v: np.asarray(c) for v, c in zip(jaxpr.constvars, consts, strict=True)}

        def read(atom: Atom) -> np.ndarray:
            return known[atom] if isinstance(atom, Var) else np.asarray(atom.val, aval(atom).dtype)

        for equation in jaxpr.eqns:
            out = self._apply(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, out, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: JaxprEqn, values: list[np.ndarray]) -> Sequence[np.ndarray]:
        name, params = equation.primitive.name, equation.params
        outputs = list(map(aval, equation.outvars))
        if name in CALLS:
            inner = params[CALLS[name]]
            try:
                return self._run(inner.jaxpr, inner.consts, values)
            except NeedsArrays as reason:
                raise reason if reason.args[1:] else NeedsArrays(*reason.args, *_where(equation)) from None
        if any(math.prod(a.shape) > MOST_ELEMENTS for a in outputs):
            raise NeedsArrays(f"{name}, of more than {MOST_ELEMENTS:,} elements", *_where(equation))
        if all(x.dtype != object for x in values) and all(a.dtype.kind in "iub" for a in outputs):
            return _known(equation, values)  # positions, such as those that indexing computes
        if name in ELEMENTWISE:
            return [self._elementwise(partial(equation.primitive.bind, **params), *values)]
        if name in FOLDS:
            return [self._fold(FOLDS[name], values[0], params["axes"])]
        if name in CUMULATIVE:
            return [self._cumulative(CUMULATIVE[name], values[0], params["axis"], params["reverse"])]
        if name in VIEWS:
            return [VIEWS[name](*map(_elements, values), **params)]
        if name in REARRANGING and all(x.dtype != object for x in values[REARRANGING[name]]):
            return self._rearranged(equation, values)
        if name == "gather" and values[0].dtype != object and _chooses_rows(equation):
            return [self._chosen_rows(equation, *values)]
        if name == "iota":
            return [_known(equation, values)[0]]
        if name not in OTHERS:
            decided = " at positions that data decide" if name in REARRANGING else ""
            raise NeedsArrays(f"{name}{decided}", *_where(equation))
        return OTHERS[name](self, equation, *values)

    def _elementwise(self, function: Callable, *values: np.ndarray) -> np.ndarray:
        function = (lambda *x: _UNKNOWN) if self.dry else function
        out = np.frompyfunc(function, len(values), 1)(*map(_elements, values))
        return out if isinstance(out, np.ndarray) else _element(out)

    def _fold(self, function: Callable, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """Reduces over `axes` in the order of the elements."""
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        shape = tuple(x.shape[axis] for axis in kept)
        rows = _elements(x).transpose(*kept, *axes).reshape(*shape, -1)
        out = np.empty(shape, object)
        for place in np.ndindex(shape):
            out[place] = _UNKNOWN if self.dry else reduce(function, rows[place])
        return out

    def _cumulative(self, function: Callable, x: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
        rows = np.moveaxis(_elements(x), axis, -1).copy()
        for place in np.ndindex(rows.shape[:-1]):
            row = list(rows[place])[:: -1 if reverse else 1]
            row = row if self.dry else list(accumulate(row, function))
            rows[place] = objects(row[:: -1 if reverse else 1], (len(row),))
        return np.moveaxis(rows, -1, axis)

    def _rearranged(self, equation: JaxprEqn, values: list[np.ndarray]) -> list[np.ndarray]:
        """Applies the operation to the elements' numbers, which shows where each element of a result comes from."""
        where = range(len(values))[REARRANGING[equation.primitive.name]]
        elements: list = []
        numbers = list(values)
        for k, x in enumerate(values):
            if k not in where:
                numbers[k] = np.arange(x.size, dtype=np.int32).reshape(x.shape) + len(elements)
                elements += _elements(x).flat
        params = equation.params
        if "fill_value" in params:  # of positions that are outside
            fill, dtype = params["fill_value"], np.dtype(aval(equation.outvars[0]).dtype)
            params = params | {"fill_value": len(elements)}
            elements.append(dtype.type(np.nan if fill is None and dtype.kind == "f" else fill or 0))
        flat = objects(elements, (len(elements),))
        return [flat[number] for number in _known(equation.replace(params=params), numbers)]

    def _chosen_rows(self, equation: JaxprEqn, table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Rows of a known table, at positions that data decide: each element from a column of the table."""
        dims, params = equation.params["dimension_numbers"], equation.params
        (axis,) = dims.start_index_map
        rows = np.moveaxis(table, axis, 0)
        place = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
        out = np.empty((*numbers.shape[:-1], *rows.shape[1:]), object)
        for k, j in itertools.product(np.ndindex(numbers.shape[:-1]), np.ndindex(rows.shape[1:])):
            if self.dry:
                out[k + j] = _UNKNOWN
                continue
            start, column = jnp.asarray(numbers[k][0])[None], jnp.asarray(rows[(slice(None), *j)])
            given = {"mode": params["mode"], "fill_value": params["fill_value"]}
            out[k + j] = lax.gather(column, start, place, (1,), **given)
        where = [d for d in range(out.ndim) if d not in dims.offset_dims]
        return np.moveaxis(out, range(out.ndim), [*where, *dims.offset_dims])

    def _dot_general(self, equation: JaxprEqn, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        (of_x, of_y), (batch_x, batch_y) = equation.params["dimension_numbers"]
        free_x = [axis for axis in range(x.ndim) if axis not in (*of_x, *batch_x)]
        free_y = [axis for axis in range(y.ndim) if axis not in (*of_y, *batch_y)]
        batch, summed = [x.shape[a] for a in batch_x], math.prod(x.shape[a] for a in of_x)
        rows, columns = [x.shape[a] for a in free_x], [y.shape[a] for a in free_y]
        x = _elements(x).transpose(*batch_x, *free_x, *of_x).reshape(math.prod(batch), -1, summed)
        y = _elements(y).transpose(*batch_y, *free_y, *of_y).reshape(math.prod(batch), -1, summed)
        out = np.empty((len(x), x.shape[1], y.shape[1]), object)
        for k, i, j in np.ndindex(out.shape):
            out[k, i, j] = _UNKNOWN if self.dry else reduce(lax.add, map(lax.mul, x[k, i], y[k, j]))
        return [out.reshape((*batch, *rows, *columns))]

    def _dynamic_slice(self, equation: JaxprEqn, x: np.ndarray, *starts: np.ndarray) -> list[np.ndarray]:
        """A slice at positions that data decide, chosen among all slices."""
        x = _elements(x)
        for axis, (start, size) in enumerate(zip(starts, equation.params["slice_sizes"], strict=True)):
            slices = [np.take(x, range(k, k + size), axis) for k in range(x.shape[axis] - size + 1)]
            x, number = slices[0], _elements(start)[()]
            for k, other in enumerate(slices[1:], 1):
                reached = None if self.dry else lax.ge(number, number.dtype.type(k))
                x = self._elementwise(lambda a, b, reached=reached: lax.select(reached, a, b), other, x)
        return [x]

    def _argmax(self, equation: JaxprEqn, x: np.ndarray, better: Callable = lax.gt) -> list[np.ndarray]:
        """Position of the first largest element along an axis. NaN does not count as largest."""
        (axis,), dtype = equation.params["axes"], np.dtype(equation.params["index_dtype"]).type
        rows = np.moveaxis(_elements(x), axis, -1)
        out = np.empty(rows.shape[:-1], object)
        for place in np.ndindex(out.shape):
            best, at = rows[place][0], dtype(0)
            for k, value in enumerate(rows[place][1:] if not self.dry else (), 1):
                wins = better(value, best)
                best, at = lax.select(wins, value, best), lax.select(wins, dtype(k), jnp.asarray(at))
            out[place] = _UNKNOWN if self.dry else at
        return [out]

    def _argmin(self, equation: JaxprEqn, x: np.ndarray) -> list[np.ndarray]:
        return self._argmax(equation, x, lax.lt)

    def _scan(self, equation: JaxprEqn, *values: np.ndarray) -> list[np.ndarray]:
        """Unrolls the loop."""
        params, length, body = equation.params, equation.params["length"], equation.params["jaxpr"]
        if not 0 < length <= MOST_STEPS:
            raise NeedsArrays(f"scan of {length:,} steps", *_where(equation))
        end = params["num_consts"] + params["num_carry"]
        consts, carry, rows = values[: params["num_consts"]], values[params["num_consts"] : end], values[end:]
        steps = range(length)
        found: dict[int, list[np.ndarray]] = {}
        for k in reversed(steps) if params["reverse"] else steps:
            out = self._run(body.jaxpr, body.consts, [*consts, *carry, *(x[k, ...] for x in rows)])
            carry, found[k] = tuple(out[: params["num_carry"]]), out[params["num_carry"] :]
        stacks = zip(*(found[k] for k in steps), strict=True)
        return [*carry, *(np.stack(list(map(_elements, stack))) for stack in stacks)]

    def _custom_jvp_call(self, equation: JaxprEqn, *values: np.ndarray) -> list[np.ndarray]:
        """Keeps the derivative rule."""
        closed, shapes = equation.params["call_jaxpr"], [x.shape for x in values]
        if self.dry:
            return self._run(closed.jaxpr, closed.consts, values)
        derivative, consts, zeros = equation.params["jvp_jaxpr_fun"].call_wrapped(*[False] * len(values))

        @jax.custom_jvp
        def function(*parts: Flat) -> list[Flat]:
            results = self._run(closed.jaxpr, closed.consts, list(map(objects, parts, shapes)))
            return [tuple(_elements(x).flat) for x in results]

        @function.defjvp
        def _(parts: tuple[Flat, ...], tangents: tuple[Flat, ...]) -> tuple[list[Flat], list[Flat]]:
            both = [
                objects(of_one, shape) for each in (parts, tangents) for of_one, shape in zip(each, shapes, strict=True)
            ]
            results = [tuple(_elements(x).flat) for x in self._run(derivative, consts, both)]
            values, slopes = results[: len(zeros)], iter(results[len(zeros) :])
            zero_slopes = [tuple(map(jnp.zeros_like, of_one)) for of_one in values]
            return values, [flat if zero else next(slopes) for flat, zero in zip(zero_slopes, zeros, strict=True)]

        out = function(*(tuple(_elements(x).flat) for x in values))
        return [objects(parts, aval(v).shape) for parts, v in zip(out, equation.outvars, strict=True)]


def _chooses_rows(equation: JaxprEqn) -> bool:
    """Whether a gather takes whole rows along one axis."""
    dims, shape = equation.params["dimension_numbers"], aval(equation.invars[0]).shape
    one = len(dims.start_index_map) == 1 and dims.collapsed_slice_dims == dims.start_index_map
    sizes = [1 if axis in dims.start_index_map else length for axis, length in enumerate(shape)]
    return one and not dims.operand_batching_dims and list(equation.params["slice_sizes"]) == sizes


def aval(atom: Atom) -> ShapedArray:
    return atom.aval  # type: ignore[return-value]


OTHERS: dict[str, Callable[..., list[np.ndarray]]] = {
    "dot_general": _Evaluation._dot_general,
    "dynamic_slice": _Evaluation._dynamic_slice,
    "argmax": _Evaluation._argmax,
    "argmin": _Evaluation._argmin,
    "scan": _Evaluation._scan,
    "custom_jvp_call": _Evaluation._custom_jvp_call,
}


def _known(equation: JaxprEqn, values: Sequence[Array]) -> list[np.ndarray]:
    """The results of an equation on numbers."""
    with jax.ensure_compile_time_eval():
        out = equation.primitive.bind(*map(jnp.asarray, values), **equation.params)
    return [np.asarray(x) for x in (out if equation.primitive.multiple_results else [out])]


def _where(equation: JaxprEqn) -> list[str]:
    """The function, file and line where an equation was written, outside of jax; empty if they are not known."""
    traceback = equation.source_info.traceback
    own = str(Path(jax.__file__).parent)
    for frame in getattr(traceback, "frames", ()):
        if not frame.file_name.startswith((own, "<")) and frame.file_name != __file__:
            return [f"{frame.function_name} ({frame.file_name}, line {frame.line_num})"]
    return []

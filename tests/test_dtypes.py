"""What dtypes and what objects are taken, and what dtype comes out."""

import numpy as np
import pytest
from _support import (
    FUNCTIONS,
    LOSSES,
    ROWS,
    UFUNCS,
    assert_close,
    assert_same_bits,
    over,
    parameter_names,
    parts,
    seeded,
)

import fastce
from fastce import reference
from fastce._registry import find

SHAPE = (4, 5)
INDEX_ROWS = tuple(op for op in LOSSES if op.target == "index")

# dtype given -> dtype of the result
RESULTS = {
    "float16": np.float32,
    "float32": np.float32,
    "float64": np.float64,
    ">f4": np.float32,
    "<f4": np.float32,
    ">f8": np.float64,
    "<f8": np.float64,
    "bool": np.float64,
    "int8": np.float64,
    "uint8": np.float64,
    "int16": np.float64,
    "uint16": np.float64,
    "int32": np.float64,
    "uint32": np.float64,
    "int64": np.float64,
    "uint64": np.float64,
    ">i4": np.float64,
}
REFUSED = {
    "longdouble": np.longdouble,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "str": "U8",
    "bytes": "S8",
    "object": object,
    "datetime64": "M8[s]",
    "timedelta64": "m8[s]",
}


def arguments_as(op, dtype):
    """Give arguments as `dtype`, 0 and 1 where that has no fractions, and as it is converted.

    Targets over classes stay what they are: there an integer dtype means something else.
    """
    arguments = op.arguments(seeded(op.id), SHAPE)
    count = 1 if op.target in ("index", "probability") else len(arguments)
    whole = np.dtype(dtype).kind in "biu"
    given = tuple((a > np.mean(a) if whole else a).astype(dtype) for a in arguments[:count])
    converted = tuple(a.astype(RESULTS[dtype]) for a in given)
    return given + arguments[count:], converted + arguments[count:]


@pytest.mark.parametrize("dtype", RESULTS)
@over("op", ROWS)
def test_dtype_of_the_result(op, dtype):
    """The table above, for every operation, and the value is that of the converted array."""
    arguments, converted = arguments_as(op, dtype)
    result = RESULTS[dtype]
    for method in op.methods:
        extra = (np.ones(SHAPE, result),) if method == "hvp" else ()
        got = op.call(method)(*arguments, *extra)
        for part in parts(got):
            assert np.asarray(part).dtype == np.dtype(result)
            assert np.asarray(part).dtype.isnative
        assert_close(got, op.call(method)(*converted, *extra), 4, method)


@pytest.mark.parametrize("dtype", REFUSED)
@over("op", ROWS)
def test_refused_dtypes(op, dtype):
    """A dtype that is not real floats, integers or bools is refused by name."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    for i, argument in enumerate(arguments):
        if argument.dtype.kind == "f":
            bad = np.ones(argument.shape, "i8").astype(REFUSED[dtype])
            given = [*arguments[:i], bad, *arguments[i + 1 :]]
            with pytest.raises(TypeError) as caught:
                op.function(*given)
            if op not in UFUNCS:  # those have NumPy's own messages
                assert f"`{parameter_names(op)[i]}`" in str(caught.value)
                assert str(bad.dtype) in str(caught.value)


@over("op", ROWS)
def test_first_argument_decides(op):
    """With several dtypes in a call, the first argument's is the result's."""
    for first, second in ((np.float32, np.float64), (np.float64, np.float32)):
        arguments = op.arguments(seeded(op.id), SHAPE, first)
        mixed = arguments[:1] + tuple(
            a.astype(second) if a.dtype.kind == "f" else a for a in arguments[1:]
        )
        alike = tuple(a.astype(first) if a.dtype.kind == "f" else a for a in mixed)
        for options in op.option_sets(seeded(op.id), SHAPE, second):
            for part in parts(op.function(*mixed, **options)):
                assert np.asarray(part).dtype == first
            same = {k: v.astype(first) if np.ndim(v) else v for k, v in options.items()}
            assert_close(op.function(*mixed, **options), op.function(*alike, **same), 4, options)


@over("op", FUNCTIONS)
def test_conversion_does_not_warn(op):
    """What is too large for the first argument's dtype becomes infinite, silently."""
    first, *others = op.arguments(seeded(op.id), SHAPE, np.float32)
    options = {}
    if op.kind == "loss":
        options["sample_weight"] = np.full(SHAPE[: 1 if op.has_axis else 2], 1e300)
    elif op.name == "logsumexp":
        options["b"] = np.full(SHAPE, 1e300)
    elif others:
        others[0] = np.full(others[0].shape, 1e300)
    for module in (None, reference):
        for part in parts(op.call(module=module)(first, *others, **options)):
            assert np.asarray(part).dtype == np.float32


LARGE = [
    # loss, first argument, target: the sum of three is infinite in float32
    ("cross_entropy", [[3e38, 0.0]] * 3, [1, 1, 1]),
    ("nll_loss", [[-3e38]] * 3, [0, 0, 0]),
    ("kl_divergence", [[-2e38]] * 3, [[1.0]] * 3),
    ("binary_cross_entropy_with_logits", [3e38] * 3, [0, 0, 0]),
    ("squared_error", [1.8e19] * 3, [0, 0, 0]),
]


@pytest.mark.parametrize(("name", "x", "target"), LARGE)
def test_infinite_sums_do_not_warn(name, x, target):
    """A sum that is too large for float32 becomes infinite, silently."""
    for module in (fastce, reference):
        loss = getattr(module, name)
        assert np.isfinite(loss(np.float32(x), target, reduction="none")).all()
        assert loss(np.float32(x), target, reduction="sum") == np.inf
        weight = np.full(3, 1e-30)
        mean = loss(np.float32(x), target, sample_weight=weight)
        assert mean.dtype == np.float32


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@over("op", LOSSES)
def test_infinite_weights_do_not_warn(op, reduction):
    """Nor do weights that are infinite beside weights of 0, of every kind."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    samples = SHAPE[: 1 if op.has_axis else 2]
    options = {"sample_weight": np.resize([0.0, np.inf, 1.0], samples), "reduction": reduction}
    names = set().union(*op.options)
    options |= {n: np.resize([np.inf, 0.0, 1e300], 5) for n in names & {"weight", "pos_weight"}}
    for module in (None, reference):
        value, grad = op.call("value_and_grad", module)(*arguments, **options)
        assert np.shape(value) == (samples if reduction == "none" else ())
        assert grad.shape == SHAPE


LABELS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", ">i4", ">u8"]


@pytest.mark.parametrize("dtype", LABELS)
@over("op", INDEX_ROWS)
def test_labels_of_every_dtype(op, dtype):
    """The answer does not depend on the labels' dtype."""
    x, target = op.arguments(seeded(op.id), (6, 5))
    for method in op.methods:
        extra = (x,) if method == "hvp" else ()
        want = op.call(method)(x, target, *extra)
        assert_same_bits(op.call(method)(x, target.astype(dtype), *extra), want)


OUTSIDE = [
    # dtype, label, ignore_index: outside [0, 5) and not ignored
    ("uint8", 156, -100),  # -100 as a byte
    ("uint8", 255, -1),
    ("int8", -100, 156),
    ("int8", -1, -100),
    ("uint32", 2**32 - 1, -1),
    ("uint64", 2**63, -100),
    ("uint64", 2**63 + 5, -100),
    ("uint64", 2**64 - 1, -1),
    ("uint64", 2**64 - 100, -100),
    ("int64", -(2**63), -100),
    ("int64", 2**32, -100),  # 0 in 32 bits
    ("int32", 5, -100),
]


@pytest.mark.parametrize(("dtype", "label", "ignore_index"), OUTSIDE)
@over("op", INDEX_ROWS)
def test_labels_outside(op, dtype, label, ignore_index):
    """A label is compared as the number that it is, never cut to another width."""
    x, _ = op.arguments(seeded(op.id), (3, 5))
    target = np.array([1, label, 2], dtype)
    with pytest.raises(ValueError, match=rf"`target`.*\[0, 5\).*\b{abs(label)}\b.*index 1\b"):
        op.function(x, target, ignore_index=ignore_index)


IGNORED = [
    # dtype, ignore_index
    ("int8", -100),
    ("int8", 127),
    ("uint8", 255),
    ("int16", -32768),
    ("uint64", 2**64 - 1),
    ("uint64", 2**63),
    ("int64", -(2**63)),
    ("int64", 3),
]


@pytest.mark.parametrize(("dtype", "ignore_index"), IGNORED)
@over("op", INDEX_ROWS)
def test_ignored_labels_of_every_dtype(op, dtype, ignore_index):
    """Any integer that the labels' dtype holds can be the ignored one."""
    x, _ = op.arguments(seeded(op.id), (3, 5))
    target = np.array([1, ignore_index, 2], dtype)
    got = op.function.value_and_grad(x, target, ignore_index=ignore_index, reduction="none")
    want = op.function.value_and_grad(x[[0, 2]], [1, 2], reduction="none")
    assert got[0][1] == 0
    assert not np.any(got[1][1])
    assert_close((got[0][[0, 2]], got[1][[0, 2]]), want, 2)


class HasArray:
    """An object that NumPy can only convert by `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        """Give the array."""
        return np.array(self.array, dtype=dtype, copy=copy)


class HasDLPack:
    """An object that speaks DLPack on the CPU and nothing else."""

    def __init__(self, array):
        self.array = np.array(array)

    def __dlpack__(self, **options):
        """Give the array's capsule."""
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        """Give the array's device."""
        return self.array.__dlpack_device__()


def _torch(array):
    return pytest.importorskip("torch").tensor(array)


def _pandas(array):
    pandas = pytest.importorskip("pandas")
    return pandas.Series(array) if array.ndim == 1 else pandas.DataFrame(array)


WRAPPERS = {
    "list": np.ndarray.tolist,
    "tuple": lambda array: tuple(array.tolist()),
    "__array__": HasArray,
    "DLPack": HasDLPack,
    "torch": _torch,
    "pandas": _pandas,
    "memoryview": memoryview,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@over("op", FUNCTIONS)
def test_array_likes(op, wrapper):
    """Whatever can be seen as an array is taken, as argument and as option."""
    wrap = WRAPPERS[wrapper]
    rng = seeded(op.id)
    arguments = op.arguments(rng, SHAPE)
    for options in op.option_sets(rng, SHAPE):
        given = {key: wrap(value) if np.ndim(value) else value for key, value in options.items()}
        got = op.function(*map(wrap, arguments), **given)
        for part in parts(got):
            assert isinstance(part, (np.ndarray, np.floating))
        assert_same_bits(got, op.function(*arguments, **options), options)
    for method in op.methods[1:]:
        extra = op.extra(rng, method, arguments)
        got = op.call(method)(*map(wrap, arguments), *map(wrap, extra))
        assert_same_bits(got, op.call(method)(*arguments, *extra), method)


@pytest.mark.parametrize("wrapper", ["list", "tuple", "__array__"])
@over("op", UFUNCS)
def test_array_likes_of_ufuncs(op, wrapper):
    """A ufunc takes what NumPy's ufuncs take."""
    arguments = op.arguments(seeded(op.id), SHAPE)
    got = op.function(*map(WRAPPERS[wrapper], arguments))
    assert_same_bits(got, op.function(*arguments))


@over("op", ROWS)
def test_python_numbers(op):
    """A list of ints is float64, and so is a list of floats."""
    first = op.arguments(seeded(op.id), (5,), np.float64)
    got = op.function(*(a.tolist() for a in first))
    for part in parts(got):
        assert np.asarray(part).dtype == np.float64
    if op.name in {"softmax", "sigmoid", "logsumexp"}:
        assert op.function([1, 2, 3]).dtype == np.float64


ELEMENTWISE_LOSSES = tuple(op for op in LOSSES if not op.has_axis)


@over("op", ELEMENTWISE_LOSSES)
def test_zero_dimensional(op):
    """An elementwise loss takes numbers, and its gradient is a number."""
    x, target = (float(a[0]) for a in op.arguments(seeded(op.id), (1,)))
    value, grad = op.function.value_and_grad(x, target)
    assert np.shape(value) == np.shape(grad) == ()
    want = op.function.value_and_grad([x], [target])
    assert value == want[0]
    assert grad == want[1][0]


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64", ">i2"])
@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "sigmoid_focal_loss"])
def test_integer_and_bool_targets_of_binary_losses(name, dtype):
    """Integers and bools are taken as 0 and 1."""
    for op in (op for op in find(f"{name}[binary]") if op in ROWS):
        x, target = op.arguments(seeded(name), SHAPE)
        got = op.function(x, target.astype(dtype))
        assert_same_bits(got, op.function(x, target))


def test_a_scalar_comes_out_as_a_scalar():
    """A result without axes is a NumPy scalar, as NumPy's reductions give."""
    assert isinstance(fastce.logsumexp([1.0, 2.0]), np.float64)
    assert isinstance(fastce.cross_entropy([1.0, 2.0], 0), np.float64)
    assert isinstance(fastce.sigmoid(1.0), np.float64)
    assert isinstance(fastce.sigmoid(np.float32(1.0)), np.float32)

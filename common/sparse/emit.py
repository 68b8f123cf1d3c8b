"""A few words over llvmlite's IR builder: counted loops, variables, vectors, byte offsets.

Variables live on the stack until LLVM promotes them to registers, so that no one has to write phi nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["Emitter"]


class Emitter:
    """The body of one function under construction, which takes a pointer to a row of 8-byte arguments.

    Args:
        name: the function.
        kinds: types of its arguments: `ptr`, `i64`, `float` (the low half of its 8 bytes).
        lanes: float32 values in a vector.

    Attributes:
        arguments: the values of the arguments.
        vector: the type of a vector.

    >>> e = Emitter("add", ("ptr", "i64"), 4)
    >>> with e.loop(0, e.arguments[1]) as i:
    ...     place = e.at(e.arguments[0], e.mul(i, 16))
    ...     e.store(e.fma(e.load(place), e.splat(2.0), e.splat(1.0)), place)
    >>> "llvm.fma.v4f32" in e.text()
    True
    """

    def __init__(self, name: str, kinds: Sequence[str], lanes: int) -> None:
        from llvmlite import ir

        self._ir, self.lanes = ir, lanes
        self._i64, self.i32, self.float = ir.IntType(64), ir.IntType(32), ir.FloatType()
        types = {"ptr": ir.PointerType(), "i64": self._i64, "float": self.float}
        self.vector, self.ints = ir.VectorType(self.float, lanes), ir.VectorType(self.i32, lanes)
        self._module = ir.Module()
        function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), [types["ptr"]]), name)
        self._entry = function.append_basic_block("entry")
        self.build: Any = ir.IRBuilder(function.append_basic_block("body"))
        self._body = self.build.block
        self.arguments = tuple(
            self.load(self.at(function.args[0], 8 * index), types[kind], 8) for index, kind in enumerate(kinds)
        )

    def text(self) -> str:
        """The module, after a return is put at its end."""
        self.build.ret_void()
        self._ir.IRBuilder(self._entry).branch(self._body)
        return str(self._module)

    def number(self, value: Any) -> Any:
        """A 64-bit integer from a Python one; values pass."""
        return self._i64(value) if isinstance(value, int) else value

    def variable(self, initial: Any) -> Any:
        """A place that holds a value, for `get` and `set`; every pass through here starts it anew."""
        builder = self._ir.IRBuilder(self._entry)
        builder.position_at_end(self._entry)
        place = builder.alloca(initial.type)
        self.build.store(initial, place)
        place.holds = initial.type
        return place

    def get(self, place: Any) -> Any:
        """The value of a variable."""
        return self.build.load(place, typ=place.holds)

    def set(self, place: Any, value: Any) -> None:
        """Assign a variable."""
        self.build.store(value, place)

    @contextmanager
    def loop(self, start: Any, stop: Any) -> Iterator[Any]:
        """A loop over `range(start, stop)`, which may be empty; yields the index, a 64-bit integer."""
        index = self.variable(self.number(start))
        function = self.build.function
        test, body, after = (function.append_basic_block(word) for word in ("test", "body", "after"))
        self.build.branch(test)
        self.build.position_at_end(test)
        now = self.get(index)
        self.build.cbranch(self.build.icmp_signed("<", now, self.number(stop)), body, after)
        self.build.position_at_end(body)
        yield now
        self.set(index, self.build.add(now, self._i64(1)))
        self.build.branch(test)
        self.build.position_at_end(after)

    def mul(self, a: Any, b: Any) -> Any:
        """The product of two 64-bit integers."""
        return self.build.mul(self.number(a), self.number(b))

    def add(self, a: Any, b: Any) -> Any:
        """The sum of two 64-bit integers."""
        return self.build.add(self.number(a), self.number(b))

    def at(self, pointer: Any, offset: Any) -> Any:
        """A pointer so many bytes further."""
        return self.build.gep(pointer, [self.number(offset)], source_etype=self._ir.IntType(8))

    def load(self, pointer: Any, kind: Any = None, align: int = 4) -> Any:
        """A vector, or a value of another type, from memory."""
        return self.build.load(pointer, typ=kind or self.vector, align=align)

    def load_int(self, pointer: Any, index: Any) -> Any:
        """A 32-bit integer of an array, as a 64-bit one."""
        return self.build.sext(self.load(self.at(pointer, self.mul(index, 4)), self.i32), self._i64)

    def load_long(self, pointer: Any, index: Any) -> Any:
        """A 64-bit integer of an array."""
        return self.load(self.at(pointer, self.mul(index, 8)), self._i64)

    def shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        """A vector of lanes of two others; those of the second count on from the first's."""
        return self.build.shuffle_vector(a, b, self._ir.Constant(self.ints, list(lanes)))

    def store(self, value: Any, pointer: Any, align: int = 4) -> None:
        """Write to memory."""
        self.build.store(value, pointer, align=align)

    def splat(self, value: Any, kind: Any = None) -> Any:
        """A vector of one value: a Python number, or a scalar of the IR."""
        kind = kind or self.vector
        if isinstance(value, int | float):
            return self._ir.Constant(kind, [value] * self.lanes)
        empty = self._ir.Constant(kind, self._ir.Undefined)
        one = self.build.insert_element(empty, value, self.i32(0))
        return self.build.shuffle_vector(one, empty, self._ir.Constant(self.ints, [0] * self.lanes))

    def intrinsic(self, name: str, *values: Any) -> Any:
        """An element-wise LLVM intrinsic over vectors, such as `sqrt`."""
        kind = self._ir.FunctionType(self.vector, [self.vector] * len(values))
        full = f"llvm.{name}.v{self.lanes}f32"
        found = self._module.globals.get(full) or self._ir.Function(self._module, kind, full)
        return self.build.call(found, values)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

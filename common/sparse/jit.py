"""LLVM IR to callable functions, kept on disk as object code so that a kernel is compiled once a machine.

The functions are called through ctypes, which lets go of the interpreter lock, so that Python threads run them side by
side. A compiled kernel lives as long as its `Code`.
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import Any

from common.sparse import cache
from common.sparse.machine import Machine, host

__all__ = ["Code", "compiled"]


class Code:
    """Object code of one function of one pointer, loaded.

    Args:
        function: its name in the IR.
        objects: the object file.
        machine: the target it was compiled for.

    Attributes:
        address: where the function is.
        call: the function for Python, which takes an address.
    """

    def __init__(self, function: str, objects: bytes, machine: Machine) -> None:
        import llvmlite.binding as llvm

        # An empty module owns the engine that links the object; the object itself needs no optimiser.
        module = llvm.parse_assembly(f'target triple = "{machine.triple}"')
        self._engine = llvm.create_mcjit_compiler(module, _target(machine))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(objects))
        self._engine.finalize_object()
        self.address = int(self._engine.get_function_address(function))
        self.call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)


def compiled(text: str, function: str, machine: Machine | None = None) -> Code:
    """A function of LLVM IR, from one pointer to nothing, as machine code; compiled once a machine.

    Args:
        text: a whole IR module.
        function: the function in it.
        machine: the target; this machine's if not given.

    >>> text = "define void @seven(ptr %p) { store i32 7, ptr %p ret void }"
    >>> code, value = compiled(text, "seven"), ctypes.c_int32()
    >>> code.call(ctypes.addressof(value))
    >>> value.value
    7
    """
    import llvmlite

    machine = machine or host()
    key = hashlib.sha256(f"{llvmlite.__version__}\n{machine.fingerprint}\n{text}".encode()).hexdigest()[:32]
    name = f"{machine.fingerprint}/{key}.o"
    kept = cache.read(name)
    if kept is None:
        kept = _objects(text, machine)
        cache.keep(name, kept)
    return Code(function, kept, machine)


def _target(machine: Machine) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3, reloc="pic", jit=True)


def _objects(text: str, machine: Machine) -> bytes:
    import llvmlite.binding as llvm

    target = _target(machine)
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.verify()
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    return target.emit_object(module)

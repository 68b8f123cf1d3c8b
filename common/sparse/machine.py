"""What the kernels need to know of the processor: vector registers, caches, a name for what was measured on it.

Everything comes from LLVM's view of the host, or from what the caller forces: a narrower target runs the same kernels
in narrower registers, which is how a machine with wide ones tests them.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache

__all__ = ["Machine", "MissingCompilerError", "host"]

_WIDTHS = (("avx512f", 16, 32), ("avx2", 8, 16), ("avx", 8, 16), ("neon", 4, 32), ("sve", 4, 32))


class MissingCompilerError(ImportError):
    """llvmlite is not installed, so no kernel can be compiled here."""


@dataclass(frozen=True)
class Machine:
    """A target of the kernels.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor.
        features: its features as LLVM takes them, `+avx2,-avx512f,...`.
        lanes: float32 values in one vector register.
        registers: vector registers.

    >>> Machine("x86_64-unknown-linux", "znver4", "+avx512f,+avx2", 16, 32).fingerprint == host().fingerprint
    False
    """

    triple: str
    cpu: str
    features: str
    lanes: int
    registers: int

    @property
    def accumulators(self) -> int:
        """How many 16-lane accumulators a kernel keeps in registers, with room for a weight and for inputs.

        >>> [Machine("", "", "", lanes, registers).accumulators for lanes, registers in ((16, 32), (8, 16), (4, 32))]
        [8, 6, 6]
        """
        return max(1, min(8, (self.registers - self.registers // 8 - 2) * self.lanes // 16))

    @property
    def fingerprint(self) -> str:
        """A short hash of the target, under which compiled code and measured times are kept."""
        words = (self.triple, self.cpu, self.features, platform.machine())
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]

    def narrowed(self, lanes: int) -> Machine:
        """The same processor without its wider registers.

        Args:
            lanes: 16, 8 or 4 float32 values a register.

        Raises:
            ValueError: wider than this machine, or no width of vectors.
        """
        if lanes not in (4, 8, 16) or lanes > self.lanes:
            raise ValueError(
                f"found a width of {lanes} lanes; expected 4, 8 or 16, and at most this machine's {self.lanes}"
            )
        if lanes == self.lanes:
            return self
        words = [word for word in self.features.split(",") if not word[1:].startswith("avx512")]
        words += ["-avx512f"] if "+avx2" in words or lanes < 8 else []
        if lanes == 4:
            words = [w for w in words if w[1:] not in ("avx", "avx2", "fma", "f16c", "xop", "fma4")] + ["-avx", "-avx2"]
        return Machine(self.triple, self.cpu, ",".join(words), lanes, 16 if self.registers == 32 else self.registers)


@cache
def host() -> Machine:
    """The processor that this process runs on.

    Raises:
        MissingCompilerError: llvmlite is missing; the message says how to get it.
    """
    try:
        import llvmlite.binding as llvm
    except ImportError:
        raise MissingCompilerError(
            "the sparse runtime compiles its kernels with llvmlite, which is not installed. Run "
            "pip install 'lottery-tickets[accel]', or use the masked model, which runs at dense speed."
        ) from None
    found = llvm.get_host_cpu_features()
    lanes, registers = next(((n, r) for word, n, r in _WIDTHS if found.get(word)), (4, 16))
    features = found.flatten() + (",-prefer-256-bit" if lanes == 16 else "")
    return Machine(llvm.get_process_triple(), llvm.get_host_cpu_name(), features, lanes, registers)

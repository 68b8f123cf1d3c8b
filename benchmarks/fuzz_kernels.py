"""The sparse runtime against explicit sums in float64 and against torch, on thousands of cases drawn at random.

Of ten cases, seven are single layers (any kernel, padding, stride, dilation, groups, transposition, density, values
that are not finite), one a whole network through `convert`, one a group normalisation, one a transfer; registers of 16,
8 and 4 lanes; 1 to 4 threads, which must give the same bits. With `--guard` every buffer ends at a forbidden page, and
in a second pass begins at one. Cases run in a child process, whose death is reported with the case's seed.

Shapes come from a deck of some hundred, so that their kernels are compiled once. Prints one JSON object.

    python benchmarks/fuzz_kernels.py --cases 5000 --seed 0
    python benchmarks/fuzz_kernels.py --cases 1000 --guard
    python benchmarks/fuzz_kernels.py --only 1234 --guard
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kernel_cases
import torch
from guard_pages import Fence, install
from network_cases import Drawn, network
from torch import Tensor

from common.sparse import jit

__all__ = ["case", "work"]

_BLOCK = 250  # cases a child
_PATIENT = os.environ | {"OMP_WAIT_POLICY": "passive"}  # more threads than cores must not spin
_GEOMETRIES, _NETWORKS = 401, 149  # primes: seeds of every kind meet all of them


def case(seed: int, fenced: Callable[[Tensor], Tensor]) -> kernel_cases.Found:
    """Draw and run one case.

    Args:
        seed: decides everything.
        fenced: copies a tensor to where the kernels shall find it.
    """
    rng = random.Random(seed)
    if seed % 10 == 0:
        torch.manual_seed(seed)
        return network(rng, Drawn(random.Random(f"network {seed % _NETWORKS}")), fenced)
    torch.manual_seed(seed)
    if seed % 10 == 1:
        return kernel_cases.normalisation(rng, fenced)
    if seed % 10 == 2:
        return kernel_cases.transfer(rng, fenced)
    geometry = kernel_cases.layers_geometry(random.Random(f"geometry {seed % _GEOMETRIES}"))
    return kernel_cases.layer(rng, geometry, fenced)


def work(first: int, count: int, *, guard: bool) -> None:
    """What a child does: run cases and print a line of JSON for each."""
    faulthandler.enable()
    torch.set_num_threads(1)
    fence, fresh = Fence(), _counted()
    fenced: Callable[[Tensor], Tensor] = fence.tensor if guard else torch.Tensor.contiguous
    if guard:
        install(fence)
    for seed in range(first, first + count):
        for fence.end in (True, False) if guard else (True,):
            try:
                found = case(seed, fenced)
            except Exception as error:
                found = kernel_cases.Found(0.0, f"{type(error).__name__}: {error}", {})
            if found.wrong:
                break
        print(json.dumps({"seed": seed, **found._asdict(), "kernels": list(fresh)}), flush=True)
        fresh.clear()
        gc.collect()


def _counted() -> dict[str, None]:
    """Short hashes of the machine code that is loaded from here on, each once."""
    seen: set[str] = set()
    fresh: dict[str, None] = {}
    plain = jit.Code.__init__

    def made(self: jit.Code, function: str, objects: bytes, target: Any) -> None:
        key = hashlib.sha256(objects).hexdigest()[:12]
        if key not in seen:
            seen.add(key)
            fresh[key] = None
        plain(self, function, objects, target)

    jit.Code.__init__ = made  # type: ignore[method-assign]
    return fresh


def _block(first: int, count: int, *, guard: bool) -> Iterator[dict[str, Any]]:
    """The results of some cases; after a child's death the next one goes on behind the case that killed it."""
    last = first + count
    while first < last:
        words = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--child",
            "--seed",
            str(first),
            "--cases",
            str(last - first),
        ]
        with subprocess.Popen(
            [*words, *(["--guard"] if guard else [])], stdout=subprocess.PIPE, env=_PATIENT, text=True
        ) as child:
            for line in child.stdout or ():
                result = json.loads(line)
                first = result["seed"] + 1
                yield result
        if child.returncode > 0:
            raise RuntimeError(
                f"found the exit status {child.returncode} of a child; expected 0. See its message above"
            )
        if child.returncode:
            how = f"the process died of the signal {signal.Signals(-child.returncode).name}"
            yield {"seed": first, "difference": 0.0, "wrong": how, "drawn": {}, "kernels": []}
            first += 1


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All cases, some hundred a child."""
    begin, worst, kernels, failures, done = time.monotonic(), (0.0, options.seed), set(), [], 0
    for first in range(options.seed, options.seed + options.cases, _BLOCK):
        for result in _block(first, min(_BLOCK, options.seed + options.cases - first), guard=options.guard):
            done += 1
            kernels.update(result["kernels"])
            worst = max(worst, (result["difference"], result["seed"]))
            if result["wrong"]:
                again = f"--only {result['seed']}" + (" --guard" if options.guard else "")
                failures.append({key: result[key] for key in ("seed", "wrong", "drawn")} | {"again": again})
                print(json.dumps(failures[-1]), file=sys.stderr, flush=True)
        spent = time.monotonic() - begin
        print(f"{done} cases, {len(failures)} failures, {spent:.0f} s", file=sys.stderr, flush=True)
    return {
        "cases": done,
        "guard": options.guard,
        "kernels": len(kernels),
        "largest_difference": worst[0],
        "largest_difference_seed": worst[1],
        "failures": failures,
        "seconds": round(time.monotonic() - begin, 1),
    }


def main() -> None:
    """Parse the arguments, run, print; the exit status is 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; every case has the next one")
    parser.add_argument("--guard", action="store_true", help="forbidden pages beside every buffer (POSIX systems)")
    parser.add_argument("--only", type=int, metavar="SEED", help="run this case alone and print how it was drawn")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cases < 1 or options.seed < 0:
        parser.error(
            f"found --cases {options.cases} --seed {options.seed}; expected at least 1 case and no seed below 0"
        )
    if options.child:
        work(options.seed, options.cases, guard=options.guard)
        return
    if options.only is not None:
        options.seed, options.cases = options.only, 1
        print(json.dumps(next(_block(options.only, 1, guard=options.guard)), indent=1), file=sys.stderr)
    found = run(options)
    print(json.dumps(found, indent=1))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()

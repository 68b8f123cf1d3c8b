"""Methods that choose which edges and weights a ticket keeps; one file each.

A method is a scorer of the mask engine, `(model, params, objective) -> {name: score}`, built from a `Recipe` by a
function of one signature, and a line in `METHODS`. `common.tickets` does the rest: the ladder of densities, nesting,
rewinding, exact counts.
"""

from __future__ import annotations

METHODS = {"ugs": "glt.methods.ugs:scorer", "random": "glt.methods.random:scorer"}

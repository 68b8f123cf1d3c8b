"""Pictures of a search whose schedules may be better than the dense network."""

from __future__ import annotations

import re

import numpy as np

from common.runs.figure import COLOURS
from gen_tickets.stepwise.pictures import front_curve, heat_map
from gen_tickets.stepwise.solve import Point

DAMAGE = np.array([[0.0, -0.36, np.inf], [0.0, 0.1, 0.27]])


def test_a_heat_map_writes_what_is_better_and_colours_it_apart() -> None:
    better, worse = (heat_map(table, ["dense", "small", "skip"], ["1", "2"]) for table in (DAMAGE, np.abs(DAMAGE)))
    assert "-0.36" in better.replace("−", "-")
    assert "0.27" in better
    fills = [set(re.findall(r"fill: (#[0-9a-f]{6})", picture)) for picture in (better, worse)]
    assert fills[0] != fills[1]


def test_a_front_below_zero_is_drawn_on_a_scale_that_shows_it() -> None:
    """A damage next to nothing must not stretch the scale over nine decades."""
    points = [Point((1, 1), 0.2, -0.5), Point((1, 0), 0.6, -1.0), Point((0, 0), 1.0, 1e-9)]
    drawn = front_curve(points[:2], points, points[0], "macs")
    looked = re.findall(rf'<use [^>]*y="([\d.]+)" style="fill: {COLOURS[1].lower()}', drawn)
    first, second, nothing = (float(y) for y in looked[:3])
    assert abs(first - second) > 0.05 * abs(first - nothing)

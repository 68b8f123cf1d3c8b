"""Settings that cannot be met: exit code 2, the option by name, and no folder."""

from dataclasses import replace
from pathlib import Path

import pytest

from common.runs.errors import UsageError
from glt._settings import check, check_counts
from glt.cli import main
from glt.config import Find, preset
from glt.data import Graph
from glt.ladder import climb


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("network.depth", "0", "must be at least 1; found 0"),
        ("network.hidden", "0", "must be at least 1; found 0"),
        ("network.dropout", "1.5", "must lie in [0, 1); found 1.5"),
        ("network.dropout", "1", "must lie in [0, 1); found 1.0"),
        ("training.epochs", "0", "must be at least 1; found 0"),
        ("training.lr", "-1", "must be positive and finite; found -1.0"),
        ("training.lr", "-1e-3", "must be positive and finite; found -0.001"),
        ("training.lr", ".inf", "must be positive and finite; found inf"),
        ("training.weight-decay", "-1", "must be 0 or positive, and finite; found -1.0"),
        ("ugs.epochs", "0", "must be at least 1; found 0"),
        ("ugs.l1-edges", ".nan", "must be 0 or positive, and finite; found nan"),
        ("ugs.l1-edges", "-1", "must be 0 or positive, and finite; found -1.0"),
        ("ugs.l1-weights", ".inf", "must be 0 or positive, and finite; found inf"),
        ("ugs.noise", "-1", "must be 0 or positive, and finite; found -1.0"),
        ("earlybird.window", "1", "must be at least 2; found 1"),
        ("earlybird.threshold", "1.5", "is a share and must lie in [0, 1]; found 1.5"),
        ("dual.ceiling", "0", "must be positive and finite; found 0.0"),
        ("dual.levels", "0", "must be at least 1; found 0"),
        ("fastglt.fraction", "-0.1", "is a share and must lie in [0, 1]; found -0.1"),
        ("igrp.shots", "0", "must be at least 1; found 0"),
        ("first-seed", "99999999999999999999", "must be from 0 to 4294967295; found 99999999999999999999"),
        ("first-seed", "-1", "must be from 0 to 4294967295; found -1"),
        ("seeds", "0", "must be from 1 to 1000000; found 0"),
        ("jobs", "0", "must be at least 1; found 0"),
        ("jobs", "-3", "must be at least 1; found -3"),
        ("edges-density", "0", "is the share to keep and must lie in (0, 1]; found 0.0"),
        ("weights-density", ".nan", "is the share to keep and must lie in (0, 1]; found nan"),
        ("weights-density", "1e-9", "keeps none of 9,472 weights in round 8; expected at least one, 0.00011 or more"),
        ("edges-density", "5e-5", "keeps none of 9,929 edges in round 8; expected at least one, 0.0001 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_there_is_a_folder(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["find", f"--{option}", value, "--out", str(tmp_path / "runs")])
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"glt: error: --{option} ")
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_every_preset_is_in_range() -> None:
    for name in ("digits", "cora", "citeseer", "pubmed"):
        check(preset(Find(name)))


def test_the_lowest_density_that_is_let_through_climbs_to_the_end(graph: Graph, config: Find) -> None:
    lowest = replace(config, weights_density=0.51 / 64, edges_density=1e-2)
    check_counts(lowest, graph)
    *_, last = climb(graph, lowest, 0)
    assert last.counts["weights"]["kept"] == 1
    with pytest.raises(UsageError, match=r"--weights-density 0\.0078125 keeps none of 64 weights"):
        check_counts(replace(lowest, weights_density=0.5 / 64), graph)

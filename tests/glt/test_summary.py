"""The verdict in words."""

from common.runs.stats import estimate
from glt.summary import Level, verdict


def level(ticket: float, random: float) -> Level:
    accuracy = {"dense": estimate([0.8, 0.82]), "ticket": estimate([ticket] * 2), "random": estimate([random] * 2)}
    counts = {"weights": {"total": 100, "kept": 20, "density": 0.2}}
    return Level(3, counts, accuracy, {}, ticket > 0.79)


def test_a_win_that_random_tickets_share_is_said_to_be_none_of_the_search() -> None:
    assert verdict(level(0.81, 0.5)).endswith("(dense 81.0%, random 50.0%).")
    assert "Random tickets of the same counts win as well" in verdict(level(0.81, 0.81))


def test_a_loss_names_the_sparsest_winner() -> None:
    found = verdict(level(0.5, 0.5), [level(0.81, 0.5), level(0.5, 0.5)])
    assert found.startswith("Not a winning ticket: 20.0% of weights (20 of 100) reach 50.0%")
    assert found.endswith("The sparsest rung that wins is round 3: 20.0% of weights (20 of 100).")

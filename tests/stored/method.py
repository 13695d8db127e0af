"""A method file as an earlier version's documentation shows it."""

from switchrecon.methods.methods import GENERATOR, ISCL
from switchrecon.methods.objectives import l1


def background(step):
    """‖G(x)‖₁ where x is dark."""
    return l1(step.full_of_x * (step.x.abs() < 0.01))


MINE = ISCL.adding(GENERATOR, {background: 0.1})

"""The objectives, under the name by which users' method files import them."""

from switchrecon.methods.objectives import *  # noqa: F403

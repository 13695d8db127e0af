"""The objectives, under the name that users' method files import them by."""

from switchrecon.methods.objectives import *  # noqa: F403

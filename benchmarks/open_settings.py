"""Methods for the settings that the paper leaves open and that no setting names; see recipes/open-settings.yaml."""

from switchrecon.methods.methods import GENERATOR, SWITCHABLE_ISCL
from switchrecon.methods.objectives import sampling_consistency

INSIDE = SWITCHABLE_ISCL.adding(GENERATOR, {sampling_consistency: 30})
"""The sampling term inside the bracket that the weight 30 stands before, as the paper's objective can also be read."""

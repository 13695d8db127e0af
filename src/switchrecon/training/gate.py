"""The gate of methods that match G(X) to Y: open only where the two piles are alike."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from switchrecon.config import Config
from switchrecon.data.domains import compare_domains
from switchrecon.errors import DataError
from switchrecon.methods.methods import Method

logger = logging.getLogger(__name__)


def through_gate(
    method: Method, config: Config, full: Sequence[str | Path], sub: Sequence[str | Path]
) -> tuple[Method, dict[str, Any]]:
    """The method as it is if the two piles are alike, and without what would match them if they are not.

    Returns
    -------
    tuple
        The method, and what was decided and why, for the run's model file.
    """
    found: dict[str, Any] = {"asked": config.gate, "open": config.gate == "open"}
    if config.gate == "auto":
        try:
            comparison = compare_domains(full, sub, config)
            found |= {name: comparison[name] for name in ("verdict", "sentence", "auc")}
            found["open"] = comparison["verdict"] == "alike"
        except DataError as error:  # too little to compare; files that cannot be used are refused once more below
            found["sentence"] = str(error)
        logger.info(found["sentence"])
    logger.info(gate_sentence(found))
    return (method if found["open"] else method.closed()), found


def gate_sentence(gate: Mapping[str, Any]) -> str:
    """What the gate decided."""
    return f"gate {'open' if gate['open'] else 'closed'}: G(X) is {'' if gate['open'] else 'not '}matched to Y"

"""The gate of methods that make G(X) look like Y: open only if the two piles are alike."""

import logging
from collections.abc import Sequence
from dataclasses import asdict

from switchrecon.config import Config
from switchrecon.data.domains import compare_domains
from switchrecon.errors import DataError
from switchrecon.methods.methods import Method
from switchrecon.runs.card import Gate
from switchrecon.scans.files import ScanInput

logger = logging.getLogger(__name__)


def through_gate(
    method: Method, config: Config, full: Sequence[ScanInput], sub: Sequence[ScanInput]
) -> tuple[Method, Gate]:
    """Return the method as it is if the two piles are alike, else without objectives that make G(X) look like Y.

    Returns
    -------
    tuple
        The method, and the decision with its reasons, for the run's card.
    """
    found = Gate(asked=config.gate, open=config.gate == "open")
    if config.gate == "auto":
        try:
            comparison = compare_domains(full, sub, config)
            facts = {"verdict": comparison.verdict, "sentence": comparison.sentence, "auc": asdict(comparison.auc)}
            found = Gate(asked=config.gate, open=comparison.verdict == "alike", **facts)
        except DataError as error:  # too little to compare; files that cannot be used are refused later
            found = Gate(asked=config.gate, open=False, sentence=str(error))
        logger.info(found.sentence)
    logger.info("%s", found)
    return (method if found.open else method.closed()), found

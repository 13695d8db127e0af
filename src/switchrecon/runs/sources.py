"""Hashes of the users' files that a run executes."""

import hashlib

from switchrecon.config import Config
from switchrecon.core.user_code import digest, is_user_code


def source_sha256(reference: str, what: str) -> str:
    """Return the SHA-256 of the file in ``FILE.py:NAME``; empty for a name of the package."""
    return digest(reference, what) if is_user_code(reference) else ""


def method_source(config: Config) -> str:
    """Return the SHA-256 of the user's files for the method and the masks; empty if both are the package's."""
    masks = [mask.kind for mask in (config.mask, config.simulated_mask) if mask is not None]
    hashes = [source_sha256(config.method, "method"), *(source_sha256(kind, "mask") for kind in masks)]
    known = [text for text in hashes if text]
    return hashlib.sha256("".join(known).encode()).hexdigest() if len(known) > 1 else "".join(known)


def network_source(config: Config) -> str:
    """Return the SHA-256 of the user's file for the network; empty if it is the package's."""
    return source_sha256(config.network, "network")

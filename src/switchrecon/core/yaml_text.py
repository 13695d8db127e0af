"""Safe reading of YAML: only plain values, and no more of them than a person would write."""

from typing import Any

import yaml

MOST_CHARACTERS = 1 << 18
MOST_LEVELS = 50
MOST_VALUES = 20_000  # an alias counts as many values as it stands for


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MOST_LEVELS:
            raise yaml.YAMLError("nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def load_yaml(text: str) -> Any:
    """Read plain YAML; aliases are allowed as long as they do not expand to too many values.

    Raises
    ------
    yaml.YAMLError
        If the text is not YAML, is too long or nested too deeply, or expands to too many values.
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"{len(text)} characters; expected at most {MOST_CHARACTERS}")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """Return the number of values that a node stands for; infinite if it contains itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known
        inside = []
        if isinstance(node, yaml.SequenceNode):
            inside = node.value
        elif isinstance(node, yaml.MappingNode):
            inside = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_values(part, known) for part in inside)
    return known[id(node)]

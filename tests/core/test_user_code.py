"""Objects from a user's file: what is returned, and one sentence for each mistake."""

from pathlib import Path

import pytest

from switchrecon.core.user_code import digest, is_user_code, load
from switchrecon.errors import ConfigError


def test_what_a_file_defines(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import math\nMINE = math.floor(3.5)\n")
    assert load(f"{file}:MINE", "mask") == 3
    assert [is_user_code(name) for name in (f"{file}:MINE", "random-1d")] == [True, False]
    before = digest(f"{file}:MINE", "mask")
    file.write_text("MINE = 4\n")
    assert load(f"{file}:MINE", "mask") == 4
    assert digest(f"{file}:MINE", "mask") != before


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "MINE", "no such file"),
        ("1 / 0", "MINE", "raised ZeroDivisionError: division by zero"),
        ("def", "MINE", "raised SyntaxError"),
        ("MINE = 3", "MINNE", "defines no 'MINNE'; did you mean 'MINE'"),
    ],
)
def test_mistakes(tmp_path: Path, text: str | None, name: str, message: str) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        load(f"{file}:{name}", "mask")
    assert str(raised.value).startswith(f"mask '{file}:{name}': ")

"""Records that are stored as JSON."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from switchrecon.core.files import write_text


class Record(BaseModel):
    """Base class of typed records that are stored as JSON.

    Keys that this version does not know are ignored when a record is read. Numbers that are not finite are stored as
    null.
    """

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read and check a record in a file.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not JSON or not such a record; pydantic raises it, see :mod:`switchrecon.core.sentences`.
        """
        return cls.model_validate_json(file.read_text(encoding="utf-8"))

    def write(self, file: Path) -> None:
        """Write the record to a file, completely or not at all."""
        write_text(file, self.model_dump_json(indent=1))


class IndexedRecord(Record):
    """Base class of records that can also be read by ``record["name"]``, because earlier versions returned dicts."""

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name.

        Raises
        ------
        KeyError
            If there is no such field.
        """
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)

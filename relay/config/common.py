"""The base class of every section, and the sections that destinations and engines share."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from relay.config.errors import invalid
from relay.config.types import (
    NonEmptyPath,
)


class Section(BaseModel):
    """Base class of a section: a mapping with known keys. Unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        defer_build=True,
        arbitrary_types_allowed=True,  # `Rate` and other values that relay itself parses
    )
    schema_rules: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Rules between the keys of this class as JSON Schema, which `relay schema` adds to ``allOf``.

    Each class has its own rules only; those of its bases apply as well.
    """


class TlsConfig(Section):
    """Which certificates to trust, and which one to present."""

    schema_rules = ({"dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]}},)

    ca_file: NonEmptyPath | None = None
    """The only certificates to trust. Default: those that the system trusts."""
    cert_file: NonEmptyPath | None = None
    """The client certificate to present; needs ``key_file``."""
    key_file: NonEmptyPath | None = Field(default=None, validate_default=True)
    """The private key of ``cert_file``, without a passphrase."""

    @field_validator("key_file")
    @classmethod
    def _check_certificate_and_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise invalid("'cert_file' and 'key_file' go together: write both or neither")
        return value

"""What every section of a configuration is made of, and what more than one of them holds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from relay.config.mistakes import whole
from relay.config.values import Location


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        defer_build=True,
    )


class TlsConfig(Section):
    """How to trust the other side, and how to be trusted by it."""

    ca_file: Location | None = None
    """The certificates to trust, and no others; without it those that the system trusts."""
    cert_file: Location | None = None
    """The certificate to show; needs ``key_file``."""
    key_file: Location | None = Field(default=None, validate_default=True)
    """Its key, without a passphrase."""

    @field_validator("key_file")
    @classmethod
    def _with_its_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise whole("'cert_file' and 'key_file' go together: write both or neither")
        return value

"""The JSON Schema of the configuration, built once for all tests of a process."""

import jsonschema

from relay.config.schema import build_schema
from relay.destinations.catalog import DESTINATION_TYPES

SCHEMA = build_schema(DESTINATION_TYPES)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

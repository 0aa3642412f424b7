"""Reads the fields of a file of tests.

A `FieldReader` never raises: a field that cannot be read is reported and counts as empty, so that
one run reports every problem in the file.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from relay.config import types
from relay.config.errors import ConfigIssue, IssueScope, KeyPath, did_you_mean, quote
from relay.config.match_parser import scalar_to_text
from relay.config.unknown_keys import hint
from relay.config.yaml_reader import Document


class FieldReader:
    """Reads mappings, lists and texts; ``issues`` is what was wrong so far."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.issues: list[ConfigIssue] = []
        # Mappings with unknown keys, by their id. Kept alive, so that no other object gets that id.
        self._mistyped: dict[int, Mapping[str, object]] = {}

    def report(
        self, path: KeyPath, message: str, scope: IssueScope = IssueScope.STANDALONE
    ) -> None:
        """Add an issue."""
        self.issues.append(ConfigIssue(path, message, scope))

    def report_missing(self, data: Mapping[str, object], path: KeyPath, message: str) -> None:
        """Add an issue about a missing key, unless the key was probably mistyped."""
        if id(data) not in self._mistyped:
            self.report(path, message)

    def check_keys(self, data: Mapping[str, object], path: KeyPath, keys: Collection[str]) -> None:
        """Report the keys of a mapping that are not among ``keys``."""
        for key in data:
            if key not in keys:
                message = f"unknown key {quote(key)}{hint(key, keys)}"
                self.report((*path, key), message, IssueScope.KEY)
                self._mistyped[id(data)] = data

    def read_mapping(
        self,
        data: object,
        path: KeyPath,
        message: str = "must be a mapping, with 'key: value' lines",
    ) -> Mapping[str, object]:
        """Return a mapping; an empty one if there is nothing, or something else."""
        if data is None or isinstance(data, Mapping):
            return data or {}
        self.report(path, message)
        return {}

    def read_list(self, data: object, path: KeyPath, example: str) -> list[object]:
        """Return a list with at least one item; an empty one if there is none."""
        if isinstance(data, list) and data:
            return data
        self.report(path, f"must be a list with at least one item, as in {example}")
        return []

    def read_text(self, data: Mapping[str, object], key: str, path: KeyPath) -> str | None:
        """Return the value of a key as a text; None if it is not a scalar."""
        text = scalar_to_text(data[key])
        if text is None:
            self.report((*path, key), "must be a text")
        return text

    def read_optional_text(self, data: Mapping[str, object], key: str, path: KeyPath) -> str | None:
        """Return the value of a key as a text; None if there is none, or it is not a scalar."""
        return self.read_text(data, key, path) if key in data else None

    def read_duration_ns(self, data: object, path: KeyPath) -> int | None:
        """Return a duration in nanoseconds; None if it is not a duration."""
        try:
            duration = types.parse_duration(scalar_to_text(data) or "")
        except ValueError as error:
            self.report(path, str(error), IssueScope.VALUE)
            return None
        return duration // timedelta(microseconds=1) * 1000

    def check_known(self, name: str, known: Collection[str], path: KeyPath, noun: str) -> None:
        """Report a name that is not among those of the configuration."""
        if name in known:
            return
        message = f"is not {noun} of the configuration{did_you_mean(name, known)}"
        location = self._document.locations.get(path)
        if location is not None and location.text == name:
            self.report(path, message, IssueScope.VALUE)
        else:
            self.report(path, f"{quote(name)} {message}", IssueScope.KEY)

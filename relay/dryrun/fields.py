"""Reads the fields of a file of tests, and collects everything that is wrong with them.

Nothing raises: a field that cannot be read is reported and replaced by something empty, so that one
run reports every problem in the file.
"""

from collections.abc import Collection, Mapping

from relay.config.errors import ConfigIssue, IssueScope, KeyPath, did_you_mean, quote
from relay.config.match_parser import scalar_to_text


class FieldReader:
    """Reads mappings, lists and texts; ``issues`` is what was wrong so far."""

    def __init__(self) -> None:
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
                message = f"unknown key {quote(key)}{did_you_mean(key, keys)}"
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

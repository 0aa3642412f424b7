"""Samples: a configuration, and files of tests for it."""

from pathlib import Path

from relay.config.origin import built_in
from relay.dryrun.suite import Suite, load_suite

CONFIG = """
engines: {here: {host: node-1}, edge: {}}
destinations:
  ops: {type: slack, url: "${SLACK}", title: "{{ event.name }}: {{ 7 // event.exit_code }}"}
  audit: {type: http, url: "http://audit/hook"}
  plain: {type: http, url: "http://plain/", format: template, body_text: "{{ headline }}"}
  oncall: {type: pagerduty, routing_key: s3cr3t-key}
routes:
  - {name: noise, match: {action: "exec_*"}, drop: true}
  - {name: crashed, match: {type: container, action: die, cause: crashed}, to: [ops, audit]}
  - {name: edge, match: {engine: edge, action: oom}, to: [plain, oncall], stop: true}
  - {name: out-of-memory, match: {type: container, action: oom}, to: audit}
  - {name: own, match: {type: relay}, to: plain}
"""


def write_suite(folder: Path, tests: str, config: str = CONFIG) -> Path:
    """Write a file of tests beside its configuration."""
    (folder / "config.yaml").write_text(config)
    file = folder / "tests.yaml"
    file.write_text(f"config: config.yaml\nenvironment: {{SLACK: 'http://slack/x'}}\n{tests}")
    return file


def parse_suite(folder: Path, tests: str) -> Suite:
    """Write and load a file of tests."""
    return load_suite(write_suite(folder, tests), None, built_in, {})

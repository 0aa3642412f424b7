"""Compares relay with the simple script that people write: ``python -m tools.bench``.

Each scenario runs both in turn, several times, with the same engine and the same sink. These are
separate processes, so that CPU, memory and time are those of the measured process alone. The result
is ratios from one run on one machine. See ``docs/performance.md``.
"""

"""Compares relay with the simple script that people write: ``python -m tools.bench``.

Each scenario runs both in turn, several times, with an engine and a sink of the same kind. These
are separate processes, so that CPU, memory and time are those of the measured process alone.
Containers come and go as in real life, and nothing is warmed up. The result is ratios from one run
on one machine. See ``docs/benchmark.md``.
"""

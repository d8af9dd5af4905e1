"""Lockfiles: pin what is installed, and refuse to measure with anything else."""

from __future__ import annotations

from mlpstorage.preflight.lockfile.verify import lockfile_problems

__all__ = ["lockfile_problems"]

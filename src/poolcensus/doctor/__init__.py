"""Tries each permission that a census needs, and says which grant is missing: one check a file."""

from poolcensus.doctor.examination import diagnose
from poolcensus.doctor.findings import Cause, Check, CheckStatus, Finding

__all__ = ["Cause", "Check", "CheckStatus", "Finding", "diagnose"]

"""Tries each permission that a census needs, and reports which grant is missing. Each check has a module."""

from poolcensus.doctor.examination import diagnose
from poolcensus.doctor.findings import Cause, Check, CheckStatus, Finding

__all__ = ["Cause", "Check", "CheckStatus", "Finding", "diagnose"]

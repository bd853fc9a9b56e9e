"""A snapshot, and those before it, as one HTML page that loads nothing."""

from poolcensus.analysis.report.made import Report, report

__all__ = ["Report", "report"]

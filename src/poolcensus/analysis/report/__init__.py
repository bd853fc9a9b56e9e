"""Reports on a snapshot and its history as one HTML page that loads no other file."""

from poolcensus.analysis.report.made import Report, report

__all__ = ["Report", "report"]

"""The loggers of the SDK that write keys, tokens and external IDs at DEBUG."""

CALL_LOGGERS = (
    "botocore.auth",
    "botocore.endpoint",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.utils",
)
"""The names of the loggers that log requests and replies at DEBUG."""

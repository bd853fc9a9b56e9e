"""What the SDK's log must not tell: it has keys, tokens and external ids at DEBUG."""

TELL_OF_CALLS = (
    "botocore.auth",
    "botocore.endpoint",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.utils",
)
"""The loggers that tell at DEBUG what the SDK sends and gets."""

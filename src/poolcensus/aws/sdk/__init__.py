"""The AWS SDK, as far as its rules are followed: credentials, configuration, endpoints, forms of requests."""

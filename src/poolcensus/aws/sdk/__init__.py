"""The rules of the AWS SDK: credentials, configuration, endpoints, and how requests look."""

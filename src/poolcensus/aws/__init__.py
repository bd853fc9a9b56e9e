"""Calls to AWS: whose credentials they use, how they are sent, and what errors mean."""

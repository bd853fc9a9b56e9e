"""When a call may be made: retries, concurrency, rates and circuit breakers."""

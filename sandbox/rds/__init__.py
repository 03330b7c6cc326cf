"""RDS made real: PostgreSQL servers, each behind a gate that knows security groups."""

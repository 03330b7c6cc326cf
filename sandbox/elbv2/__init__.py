"""Elastic Load Balancing made real: requests forwarded by listeners and rules, targets checked."""

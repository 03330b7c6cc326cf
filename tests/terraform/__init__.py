"""Tests of the Terraform stacks."""

"""Local AWS on one loopback port, without Docker: an emulator's state, real processes behind it."""

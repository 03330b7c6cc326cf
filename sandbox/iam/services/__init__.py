"""What each service's calls need: one module a service where its own ways differ from the reference's."""

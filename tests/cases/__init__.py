"""The numbered cases: what can go wrong between a client and the service."""

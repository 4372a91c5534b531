"""Tests of the examples, each against the application as a user starts it."""

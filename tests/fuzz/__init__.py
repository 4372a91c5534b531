"""What comes from outside, altered at random and guided by coverage.

``python -m tests.fuzz TARGET --seconds 20`` looks for an input that breaks a promise
of tests/fuzz/targets.py; ``--input HEX`` tries one again.
"""

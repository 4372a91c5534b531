"""Two clients, the same faults: what each makes of them, as a table for the docs.

``python -m tests.survival`` runs it and writes the table into its page.
"""

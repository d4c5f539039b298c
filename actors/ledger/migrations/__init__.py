"""The history of the ledger's schema, one file for each version."""

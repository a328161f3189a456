"""The migrations of the ledger, run by Alembic: one file a version, each frozen once it was released."""

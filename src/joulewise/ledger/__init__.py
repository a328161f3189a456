"""Ledger: what happened. Recordings on disk, the index over them, and the pots that several runs share.

A recording is a folder of append-only files, one per process (`files.py`); it is the truth. The index
(`store.py`, `index.py`) is a view of the recordings that may be dropped and rebuilt at any time; tables that are
primary (pots) are never dropped. Recordings and the SQLite index need the standard library only; SQLAlchemy is
imported for PostgreSQL and for migrations.

Start reading at files.py.
"""

"""Engines: what may keep a node's log besides files of JSON: a database, by a module of the ``eventsourcing`` library.

    settings    which engine, and where its database is (``[journal]`` in core.toml)
    opening     the log that the settings ask for, and the mark in the folder that says where the journal is
    database    what a database has to offer; ``sqlite`` and ``postgres`` offer it
    rows        how a line becomes stored events, and the same bytes again
    log         the log of a ledger over such rows
    view        the same log as files, for whatever reads a journal's files: backups, nano-replay

Nothing here is loaded by a node whose journal is files.
"""

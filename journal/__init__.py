"""Where facts are kept: an append-only log of JSON lines, one line one transaction, each chained by hash to the one before.

    ledger              the one door for changes: decide, stage, write, publish, answer
      engine            group commit: the batch is what arrived while the last sync ran
      commit_log        segments, lock, epoch, and what to do when a disk fails or a crash came
        line, segments  the text of a line; the files, seals and how they are scanned
        disk            the port everything goes through
      log               what the ledger needs of whatever keeps the lines: the commit log, or
        engines         a database (SQLite, PostgreSQL), by the library's modules; only loaded where one is asked for
      receipts          a repeated command gets its first answer
    feed                what became true, in order, after it became durable
    history, reader     reading back: in the node, and from outside
    resource_journals   what happened to one resource, in a file of its own, derived from the log
    verify              is the folder whole?
    persistence         the same log as a module of the ``eventsourcing`` library (with recorders in store and stored,
                        and an Application in application); no node imports it

It knows events as structs of the domain, and nothing of what they mean.
"""

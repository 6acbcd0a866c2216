"""nano-replay: reads a node's journal as an auditor does. Read-only always, beside a live node too."""

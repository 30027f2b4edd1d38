"""Where conversations are kept: one `Store`, a database behind it, and nothing cached. Temporary
conversations have one of their own, whose database is in memory.

    store.py         what can be asked of the history; every call is one transaction
    conversation_list.py  the owners' lists: finding, naming, pinning, deleting, adding
    versions.py      the versions of messages, and which are shown
    measurements.py  beside it: how fast models ran here, and how fast they were said to run
    database.py      opening: the file and its modes, the check at start, the upgrade of old tables
    tables.py        the tables as the code sees them
    migrations/      how a database of any age becomes those tables

What a conversation is, `chat` says. Who the owners are, `web` decides: here an owner is 64
characters to compare. Limits on what may be stored are the service's.
"""

"""How a database of any age becomes the tables of `tables.py`; `database.migrate` runs these.

A change of the tables: copy the newest file in `versions`, give it the next number and name its
`down_revision`, and write `upgrade` with `op.batch_alter_table`, because SQLite can alter little by
itself. `tests/history/test_migrations.py` says whether the two agree. Revisions never import
`tables.py`: they describe the past, which does not change. There is no way down.
"""

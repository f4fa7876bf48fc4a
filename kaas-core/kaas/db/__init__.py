"""Tables and what is read and written there, on SQLite, PostgreSQL and MariaDB.

Belongs here: SQL, transactions, leases, quotas, migrations. Does not belong here: what a request may ask for and what
a conductor does next (`decide` and the snapshot say it), HTTP, the platform. Start reading at `kaas.db.store`.
"""

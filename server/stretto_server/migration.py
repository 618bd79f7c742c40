"""``stretto migrate``: brings a journal's schema up to date, before the servers that need it."""

import argparse

from stretto_server.app import migrate_journal
from stretto_server.document_commands import command_settings


async def migrate(arguments: argparse.Namespace) -> int:
    """Run the migrations that the journal lacks; print which."""
    done = await migrate_journal(command_settings(journal=arguments.journal))
    if done is None:
        print("nothing to do: a journal of this kind needs no migrations")
    elif done:
        print(f"migrated to schema {done[-1]}")
    else:
        print("nothing to do: the schema is up to date")
    return 0

"""``stretto migrate``: brings a journal's schema up to date, before the servers that need it."""

import argparse
import os

from stretto_server.app import migrate_journal
from stretto_server.settings import Settings


async def migrate(arguments: argparse.Namespace) -> int:
    """Run the migrations that the journal lacks; print which."""
    settings = Settings.from_environ(
        os.environ, keyless=True, host="127.0.0.1", journal=arguments.journal
    )
    done = await migrate_journal(settings)
    if done is None:
        print("nothing to do: a journal of this kind needs no migrations")
    elif done:
        print(f"migrated to schema {done[-1]}")
    else:
        print("nothing to do: the schema is up to date")
    return 0

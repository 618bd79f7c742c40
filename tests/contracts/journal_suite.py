"""The contract suite that every journal passes.

A journal's tests subclass :class:`JournalSuite` and give it two fixtures: ``journal``,
started and empty, and ``reopen``, which closes that one and returns what is kept, started.
"""

from tests.contracts.journal_appending import AppendingContract
from tests.contracts.journal_clients import ClientsContract
from tests.contracts.journal_histories import HistoriesContract
from tests.contracts.journal_reading import ReadingContract
from tests.contracts.journal_renewing import RenewingContract


class JournalSuite(
    AppendingContract, ReadingContract, ClientsContract, HistoriesContract, RenewingContract
):
    """All parts of the contract of :class:`~stretto_server.journal.interface.Journal`."""

"""Durable logs of documents, all behind :mod:`stretto_server.journal.interface`."""

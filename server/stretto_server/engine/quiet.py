"""Keeps out of the log what only tells that a peer does not speak HTTP."""

import logging

from aiohttp.http_exceptions import HttpProcessingError

server_logger = logging.getLogger("aiohttp.server")


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Tell whether a record of aiohttp's server is about more than malformed requests.

    It logs a traceback for each of them, so that anybody could fill a disk.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def keep_quiet() -> None:
    """Filter the records of aiohttp's server; twice is fine."""
    server_logger.addFilter(is_worth_logging)

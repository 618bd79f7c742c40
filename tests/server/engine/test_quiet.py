"""Malformed requests are no news; everything else is."""

import logging
import sys

from aiohttp.http_exceptions import BadHttpMessage

from stretto_server.engine.quiet import is_worth_logging, keep_quiet, server_logger


def record(error: Exception | None) -> logging.LogRecord:
    info = None
    if error is not None:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    return logging.LogRecord("aiohttp.server", logging.ERROR, __file__, 1, "said", (), info)


def test_a_malformed_request_is_not_logged() -> None:
    assert not is_worth_logging(record(BadHttpMessage("no HTTP")))


def test_a_mistake_of_ours_is() -> None:
    assert is_worth_logging(record(ValueError("ours")))
    assert is_worth_logging(record(None))


def test_it_is_filtered_once() -> None:
    keep_quiet()
    keep_quiet()
    assert server_logger.filters.count(is_worth_logging) == 1

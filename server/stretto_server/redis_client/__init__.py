"""A small Redis client for scripts: pipelined, with deadlines, and nothing is ever sent twice.

General clients retry what timed out, and an append that ran twice is what a journal must
rule out. Here a command was either not sent (:class:`~.link.NotSent`), answered, or is of
unknown outcome (:class:`~.link.NoReply`), and the caller is told which. Read
:mod:`~stretto_server.redis_client.resp`, then ``link``, ``servers`` and ``cluster``;
``subscriber`` and ``subscriptions`` hear what is published.
"""

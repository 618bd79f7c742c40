"""The pure heart of Stretto: no sockets, clocks, randomness or logging in here.

Read in this order: :mod:`stretto_core.errors`, :mod:`stretto_core.protocol`,
:mod:`stretto_core.ot`, :mod:`stretto_core.authority`, :mod:`stretto_core.replica`.
"""

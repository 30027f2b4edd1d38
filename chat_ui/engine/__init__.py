"""Runs a model. One protocol (`protocol.py`), several engines; `tests/contract` checks each."""

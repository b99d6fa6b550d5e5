"""Example calls of models."""

from tests.isolation.calls import Call

CALLS = (Call("GET", "models"),)

"""Guardrails: what may go into a model and come out of it, by each tenant's own rules.

rules     a tenant's rules as values, compiled
store     the rules in force, per process
deny      inspect_in: what must not be asked
mask      secrets and card numbers in a text
outward   inspect_out: the same in an answer, whole or as it streams
"""

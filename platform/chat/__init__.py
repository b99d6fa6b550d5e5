"""Rooms: people and models in conversation, and the streams between them.

PostgreSQL is the truth. A write allocates the room's next sequence numbers in the transaction that inserts its rows; once
that has committed, the room's Redis stream and its subscribers are told (`chat.realtime`). An answer is written by a
generation (`chat.generations`), which outlives whoever watches it.
"""

"""The servers of a single machine, run from Python packages: PostgreSQL, Valkey and a small language model.

home       the folder that holds their data, secrets and sockets
postgres   how PostgreSQL is initialised, started and cleaned up after
valkey     how Valkey is started
llama      how the local model is served
testing    throw-away servers for tests
"""

"""The limits of rooms and sockets, each with its unit in the name."""

MESSAGE_CHARS_MAX = 100_000
TITLE_CHARS_MAX = 200
INSTRUCTIONS_CHARS_MAX = 20_000
ALIAS_CHARS_MAX = 200
CID_CHARS_MAX = 64
ROOM_MEMBERS_MAX = 500
SNAPSHOT_MESSAGES = 100
LIVE_GENERATIONS_PER_ROOM_MAX = 20

# --- the model's context ----------------------------------------------------------------------------------------------

CONTEXT_MESSAGES_MAX = 50
CONTEXT_CHARS_MAX = 60_000
"""Used where the model's own context is not known: about 15,000 tokens of English."""
CONTEXT_CHARS_PER_TOKEN = 3
CONTEXT_SHARE_FOR_ANSWER = 4
"""One part in this many of a model's context is kept free for the answer."""

# --- generations ------------------------------------------------------------------------------------------------------

LEASE_S = 6.0
LEASE_RENEW_S = 1.0
CHECKPOINT_CHARS = 4096
DELTA_INTERVAL_S = 0.025
REDIS_RETRY_S = 0.25
END_TRIES = 60
END_RETRY_S = 1.0
ANSWER_CHARS_MAX = 1_000_000
QUEUED_MAX_S = 10.0
REAP_BATCH = 100
LIVE_TEXT_TTL_S = 3600
ENDED_TEXT_TTL_S = 60

# --- the room's stream ------------------------------------------------------------------------------------------------

STREAM_EVENTS_MAX = 1000
REPLAY_EVENTS_MAX = 1000
"""Further behind than this, a client loads the snapshot instead."""
FILL_EVENTS_MAX = 200
"""Events read from PostgreSQL at once."""

# --- sockets ----------------------------------------------------------------------------------------------------------

SOCKETS_MAX = 1000
SOCKETS_UNAUTHENTICATED_MAX = 100
SOCKETS_UNAUTHENTICATED_PER_ADDRESS_MAX = 10
SOCKETS_PER_TENANT_MAX = 1000
SOCKETS_PER_MEMBER_MAX = 100
OUTBOX_FRAMES_MAX = 256
OUTBOX_BYTES_MAX = 1024 * 1024
ATTACH_BUFFER_FRAMES_MAX = 2000
FEED_BACKLOG_MAX = 5000
FRAME_BYTES_MAX = 512 * 1024
INFLIGHT_COMMANDS_MAX = 16
ROOMS_PER_SOCKET_MAX = 100
FRAMES_PER_S = 50.0
FRAMES_BURST = 200.0
HELLO_S = 10.0
HEARTBEAT_S = 30.0
SILENCE_S = 40.0
EXPIRING_S = 60
EPOCH_CHECK_S = 2.0
GAP_CHECK_S = 25.0
IDLE_FEED_S = 10.0
SUBSCRIBE_WAIT_S = 2.0
BALANCES_EVERY_S = 0.5
"""A change of a balance is told within this and the time of a query; so a socket gets two notes of it a second at most."""
CLOSE_WAIT_S = 5.0

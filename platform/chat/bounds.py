"""The limits of rooms and sockets, each with its unit in the name."""

MESSAGE_CHARS_MAX = 100_000
TITLE_CHARS_MAX = 200
INSTRUCTIONS_CHARS_MAX = 20_000
ALIAS_CHARS_MAX = 200
CID_CHARS_MAX = 64
FOLDER_CHARS_MAX = 60
ROOM_MEMBERS_MAX = 500
SNAPSHOT_MESSAGES = 100
LIVE_GENERATIONS_PER_ROOM_MAX = 20
MODELS_PER_MESSAGE_MAX = 5
MENTIONS_PER_MESSAGE_MAX = 20
EMOJI_CHARS_MAX = 16
REACTIONS_PER_MESSAGE_MAX = 20
"""Different emoji under one message."""
REACTORS_SHOWN_MAX = 20
"""Of those who chose an emoji, how many are named beside their number."""
FEEDBACK_COMMENT_CHARS_MAX = 2_000
BRANCH_DEPTH_MAX = 100_000
"""Messages of one branch that are walked at most."""

# --- sharing by link --------------------------------------------------------------------------------------------------

SHARE_MESSAGES_MAX = 500
SHARE_BYTES_MAX = 2 * 1024 * 1024
SHARE_DAYS_MAX = 90
SHARE_DAYS = 30
SHARES_PER_ROOM_MAX = 20
SHARE_VIEWS_PER_MINUTE = 60
"""By one address."""

# --- presets and prompts ----------------------------------------------------------------------------------------------

LIBRARY_NAME_CHARS_MAX = 100
LIBRARY_SEARCH_CHARS_MAX = 100
LIBRARY_PERSONAL_MAX = 200
"""Presets that a member keeps for themselves; prompts likewise."""
LIBRARY_SHARED_MAX = 1_000
"""Presets that a tenant shares; prompts likewise."""
PROMPT_CHARS_MAX = 20_000
PROMPT_VARIABLES_MAX = 20
VARIABLE_NAME_CHARS_MAX = 40
VARIABLE_LABEL_CHARS_MAX = 100
VARIABLE_DEFAULT_CHARS_MAX = 2_000
STOPS_MAX = 4
STOP_CHARS_MAX = 100
OUTPUT_TOKENS_MAX = 1_000_000
TEMPERATURE_MAX = 2.0

# --- search -----------------------------------------------------------------------------------------------------------

SEARCH_CHARS_MAX = 200
SEARCH_TIMEOUT_MS = 2_000
SEARCH_PAGE_MAX = 50
SNIPPET_SOURCE_CHARS = 20_000
"""Of so much of a message a snippet is made; where it is longer, around the first place that looks like a match."""

# --- the model's context ----------------------------------------------------------------------------------------------

CONTEXT_MESSAGES_MAX = 2_000
CONTEXT_BYTES_READ_MAX = 4_000_000
CONTEXT_TOKENS_UNKNOWN = 16_000
"""Used where the model's own context is not known."""
CONTEXT_CHARS_PER_TOKEN = 3
CONTEXT_SHARE_FOR_ANSWER = 4
"""One part in this many of a model's context is kept free for the answer at most."""
TITLES_AT_ONCE = 8
TITLE_S = 60.0
TITLE_TOKENS_MAX = 64
TITLE_TEXT_CHARS_MAX = 2_000
"""What of a question, and of its answer, a title is made of."""
TITLED_CHARS_MAX = 80
TITLE_ANSWERS_MAX = 3
"""A room that has more answers is given no title any more."""
SUMMARY_TOKENS_MIN, SUMMARY_TOKENS_MAX = 32, 800
CONTEXT_SHARE_FOR_SUMMARY = 8
"""A summary may be one part in this many of what a model can be told at most."""
SUMMARY_ESTIMATED_TIMES = 2
"""By the estimate, which counts bytes, a text may have so many times the tokens that it has to the model that said it."""
SUMMARY_PASSES_MAX = 4
"""Times that a model is asked for one summary; what is too old even for these is left out of it."""
SUMMARY_S = 60.0
SUMMARY_ROOMS_AT_ONCE = 256

# --- generations ------------------------------------------------------------------------------------------------------

LEASE_S = 6.0
LEASE_RENEW_S = 1.0
CHECKPOINT_BYTES = 4096
DELTA_INTERVAL_S = 0.025
REDIS_RETRY_S = 0.25
END_TRIES = 60
END_RETRY_S = 1.0
ANSWER_CHARS_MAX = 1_000_000
ANSWER_PARTS_MAX = 64
PIECE_BYTES_MAX = 8192
"""What Redis keeps of a live answer in one element, before it begins another."""
QUEUED_MAX_S = 6.0
REAP_BATCH = 100
LIVE_TEXT_TTL_S = 3600
ENDED_TEXT_TTL_S = 60

# --- the room's stream ------------------------------------------------------------------------------------------------

STREAM_EVENTS_MAX = 1000
REPLAY_EVENTS_MAX = 1000
"""Further behind than this, a client loads the snapshot instead."""
FILL_EVENTS_MAX = 200
"""Events read from PostgreSQL at once."""

# --- notes ------------------------------------------------------------------------------------------------------------

UNREAD_MAX = 100
"""Unread messages are counted up to this."""
UNREAD_AFTER_S = 3.0
"""Who hasn't read a message after this long gets a note."""
UNREAD_ROOMS_MAX = 10_000
NOTES_KEPT_DAYS = 90
NOTES_AT_ONCE_MAX = 100
"""Of more notes than these a client that comes gets the newest."""
NOTES_TELL_S = 0.05

# --- sockets ----------------------------------------------------------------------------------------------------------

SOCKETS_UNAUTHENTICATED_MAX = 100
SOCKETS_UNAUTHENTICATED_PER_ADDRESS_MAX = 10
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
PRESENCE_GRACE_S = 15.0
"""Who is away for less wasn't."""
PRESENCE_KEPT_S = 60
PRESENCE_RENEW_S = 20.0
PRESENCE_SHOWN_MAX = 20
"""In rooms with more people than this, who is there is in the snapshot alone."""
EPHEMERAL_PER_S = 2000
"""Frames of presence, and of typing, that a process delivers in a room in a second."""
TYPING_EVERY_S = 2.0
EPOCH_CHECK_S = 2.0
GAP_CHECK_S = 25.0
IDLE_FEED_S = 30.0
"""A room that nobody follows is listened to for so long: whoever comes back finds it as it was."""
SUBSCRIBE_WAIT_S = 2.0
BALANCES_EVERY_S = 0.5
"""A change of a balance is told within this and the time of a query; so a socket gets two notes of it a second at most."""
CLOSE_WAIT_S = 5.0
SSE_PING_S = 15.0
"""Proxies let go of an answer in which nothing happens for longer."""

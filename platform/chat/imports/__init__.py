"""Conversations from other products' export files: ChatGPT's and Open WebUI's.

bounds      how large, how many, how deep
values      a conversation, in no product's words
tree        from any nodes that name their parents to messages in order
scanning    a huge JSON document, element by element
chatgpt     a conversation of ChatGPT's `conversations.json`
open_webui  a chat of Open WebUI's export
source      the file: JSON, or a ZIP archive with it
rooms       a conversation becomes a room
service     an import is asked for
run         a worker's turn at an import
"""

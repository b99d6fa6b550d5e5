"""Conversations that leave, and that come from elsewhere: exports of rooms, and imports of other products' export files.

bounds     how large, how long
store      transfers as rows: asked for, shown, given up
leases     one worker at a time
reading    a room's messages, page by page
markdown   a room as Markdown
document   a room as JSON, the whole tree
pdf        a room as PDF
exporting  a worker's turn at an export
run        which transfers wait, and who works on them
upkeep     what is deleted when its time is over
"""

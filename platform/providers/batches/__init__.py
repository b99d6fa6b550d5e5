"""Files, and batches of requests that are worked off when there is time.

models     the tables
bounds     how long things are kept, and how much is done at once
objects    a file's bytes in the storage
files      the files of a caller
upkeep     what is deleted when its time is over
forms      what a caller says of a new batch
store      the batches of a caller
lines      a batch's input, line by line
results    what became of the lines, until they are a file
check      before the first line: is the input one?
leases     one worker at a time
answers    the answer to one line
work       the lines of a batch, a few at a time
close      the end of a batch: its files
run        a worker's turn at a batch
"""

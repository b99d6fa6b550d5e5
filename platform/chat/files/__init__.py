"""Files that people send with their messages.

bounds     how large, how many, how long
sniffing   what a file is, by what is in it
reader     the program that looks into one, in a process of its own
sandbox    how that process is run
objects    a file's bytes in the storage
links      downloads: short-lived, bound to a membership
upkeep     what is deleted when its time is over
"""

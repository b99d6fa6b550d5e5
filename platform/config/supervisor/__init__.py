"""Runs other programs in the foreground: in order, with one log, restarted when they die, ended together.

spec        what a child process is
launch      the first thing to run in a child process
child       one child process over its restarts
probes      whether a child can do its work yet
processes   which running process is whose
console     the one log
supervisor  all children together
"""

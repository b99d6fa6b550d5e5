"""`manage.py up`: the whole platform on one machine, in the foreground.

options   the command line
listener  the one listening socket of all web processes
plan      which processes there are
run       the steps, in order
"""

"""Reports: what was used and charged, by whom and for what, over time.

* `asking`    what a report is asked for, bounded;
* `summing`   the statements: rollups, and what they don't have yet, in one;
* `naming`    names for ids;
* `forecast`  what the period will come to;
* `anomalies` hours unlike those before;
* `export`    any report as CSV, in pieces.
"""

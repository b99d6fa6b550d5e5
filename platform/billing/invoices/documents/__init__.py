"""An invoice's lines as files. All of them come from one statement, a page at a time: no more is ever in memory.

* `rows`     the lines, with the names of who used what;
* `tables`   as CSV and as JSON, in pieces;
* `pdf`      as PDF; `sheet` is its first page and what all pages have, `fonts` what names are written in;
* `keeping`  PDFs are made once, by a worker, and kept in the storage of files.
"""

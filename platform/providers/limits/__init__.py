"""Limits of requests and tokens per minute, by key, tenant and model. See docs/limits.md.

buckets    the arithmetic of one bucket, and buckets of this process alone
script     the same arithmetic in Redis: all buckets of a request at once, or none
rules      which limits a tenant has set, and which buckets follow for a request
stage      the stage of the pipeline
overload   limits tighten while the event loop is late
processes  how many web processes share the limits
headers    what answers say of limits
"""

"""Vendors' wire formats: one folder each, known nowhere else."""

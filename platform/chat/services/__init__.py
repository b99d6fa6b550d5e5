"""What is done in rooms. Each service is one transaction, and tells of it once that has committed."""

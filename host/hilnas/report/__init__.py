"""Pictures and pages from the record."""

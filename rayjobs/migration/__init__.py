"""The old batch format becomes job files: what it said, what is said now, and what couldn't be carried over.

old batch -> old_jobs, old_operations, old_exports -> job file + old_notes
"""

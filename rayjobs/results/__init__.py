"""What a job leaves: parts, tables, manifest and report, and whether the disk still agrees with the ledger.

    rows -> results_store (sealed ranges) -> job_tables, duplicates -> report -> manifest
    report: rows (report_rows) -> survey, measures, numbers, texts -> report_files and templates/ (page, style, script)
    ledger <-> disk: published (compare, take up), pruning (what isn't wanted), rebuilding (a lost ledger)

``fixed_files`` writes what has a fixed name, by custody.
"""

"""One job's durable truth: inputs, attempts, results and every file that it wrote, in one SQLite file.

    discovery -> input_plan -> job_ledger <- commit (rows of workers)
                 product_plan ->  |   `-> file_record: whose file it is
                            output_lock: one writer

``attempt_record``, ``work_record`` and ``job_facts`` are its other tables: each try, what was made, the job as a whole.
``ledger_format`` is schema and upgrades; ``batch_records`` and ``job_registry`` are the lists beside it.
"""

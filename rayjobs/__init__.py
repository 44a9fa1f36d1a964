"""Who asks: the job file, the plan, the run, the command line and the report.

    job.yaml -> JobSpec -> plan (sealed input list) -> run (shards on Ray) -> manifest -> report

Imports only go down: ``rayjobs -> actors -> pipelines``.
"""

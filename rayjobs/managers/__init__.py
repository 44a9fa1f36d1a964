"""The managers of the design, for programs: jobs, enhanced jobs, exports, tasks of registered types.

    BatchJobManager <- EnhancedJobManager -> ExtensibleTasks     job_pool runs jobs, task_store remembers tasks
    AnalysisExportService, BatchProcessingHandler                job_request keeps what was asked

All of them run jobs the way the command line does: ``rayjobs.run``.
"""

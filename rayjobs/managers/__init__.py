"""The managers of the design, for programs: jobs, enhanced jobs, exports, tasks of registered types.

    BatchJobManager <- EnhancedJobManager -> ExtensibleTasks     job_pool runs jobs, task_store remembers tasks
    AnalysisExportService, BatchProcessingHandler                job_request keeps what was asked
    open_job (one job, to wait for and look at) -> open_tables (ray_dataset), named_inputs, job_images, contact_sheet

All of them run jobs the way the command line does: ``rayjobs.run``.
"""

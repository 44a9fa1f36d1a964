"""The job: from the text of a job file to a checked `JobSpec`, and what follows from it alone.

    text -> yaml_data -> job_check -> JobSpec -> product_keys   what decides each product
                                          |----> naming         where it is put
                                          |----> options        what readers, encoders and charts are told
                                          `----> recipes        what a worker does with an input

``stage_needs`` says what each stage holds, and whether they run apart. ``output_directory`` and ``job_state`` know
the output of a job from outside; ``job_tasks`` the tasks that a job lists.
"""

"""One run of a job: plan, session, grants, shards, work on Ray, results, and only then the announcement.

    run_request (what is asked for)
    run -> planning (one transaction) -> connected_run -> ray_run -> run_loop -> shard_runner -> ray_engine -> rows
                `-> dry_run (`plan`)        |                          `- shard_grants: the coordinator's turn
                                            `- ray_session: a cluster to work on

``run_end`` says how a run ends, ``stopped_run`` clears up after one that was stopped. ``ray_address`` says which Ray is
used; ``kept_ray`` finds the one that ``keeper``, a process of its own, keeps for several runs, and ``kept_environment``
says whether it would give the same results. ``worker_watch`` knows who makes no progress, ``ray_workers`` ends them,
``ray_lone_tasks`` tries suspects alone; ``ray_health`` and ``able_nodes`` end a run that nobody can work for. Only
``ray_*`` touch Ray.
For the person who waits: ``signals``, ``progress``, ``display``, ``live_display``, ``notify`` and ``last_words``.
"""

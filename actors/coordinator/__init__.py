"""One actor per cluster carries the queue's messages and keeps them; a driver speaks to it through its link.

    driver -> task_coordinator -> ray_coordinator_link -> ray_coordinator (actor) -> coordinator_service -> actors.queue
                                                                                      `-> cluster_ledger (durable)

The tasks of a grant run as one bundle (``ray_task_bundle``); ``bundle_state`` sees to it that each leaves exactly once,
and ``ray_task_words`` to it that their owner hears how far they are.
``burst_admission`` asks for the processor's bursts, ``resource_manager`` for whoever allocates. ``held_kinds`` is what
a driver can't run for now, which the queue then keeps waiting.
"""

"""Who gets what next: the pure core of the coordinator. Event in, decisions out; time is passed in, Ray isn't known.

    submit, end, nodes -> task_queue -> priority_scheduler (queue_lines) -> dispatcher -> grants, revocations
                              `-> task_graph (dependencies), task_pools (limits), open_grants (who holds what)

``capacity`` is how amounts are written and compared.
"""

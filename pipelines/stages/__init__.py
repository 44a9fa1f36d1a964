"""One image from its source to its products, and how a stream of them runs on Ray.

WorkItem + Recipe -> image_task -> image_stages: render -> analyze -> export -> publish
                         |             |- giant_image: in bands, when it is larger than memory allows
                         `-> image_rows: ImageStatus, the row for the ledger
block_task: many images in one process, journal first    staged_task: the three stages apart
cached_analyses: what was measured of the same content before
ray_blocks: blocks in Ray's tasks; ray_stream: on Ray Data
worker_journal: the input in hand
"""

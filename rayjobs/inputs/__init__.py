"""Which files a job takes: what the user's words mean, found on the disk, in order, ours left out.

words of the job -> input_lists, glob_patterns -> directory_walk -> exclusions -> input_order -> sealed inputs
                                                        `-> found_outputs, left_out_results: no result is an input
"""

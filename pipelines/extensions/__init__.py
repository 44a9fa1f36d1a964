"""Plug-ins: found as installed packages, allowed by name, adapted to the registries, and guarded when they run.

entry points -> extension_manager -> extension_adapters -> OPERATIONS, ANALYSES, charts
"""

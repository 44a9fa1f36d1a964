"""The plug-in ``vignette`` for Rayjobs; nothing of it is imported before somebody allows it by name."""

"""Extensions for Rayjobs, one module each; nothing is imported before somebody allows it by name."""

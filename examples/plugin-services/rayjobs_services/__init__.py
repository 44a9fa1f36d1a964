"""Extensions for Rayjobs that are no image's, one module each."""

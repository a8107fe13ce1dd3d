"""What can be expected to go wrong with a command: told in a sentence, not by a traceback."""


class Refused(Exception):
    """What was asked cannot be done now; the message is for the person who asked."""

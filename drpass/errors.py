"""The one exception that the user is meant to read."""


class DrpassError(Exception):
    """Something that the caller can mend; the message is one line that says how.

    The command line prints it after ``error:`` and exits with status 2; everything else that is raised is a
    defect of drpass.
    """

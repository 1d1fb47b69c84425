"""The table of calls, file by file."""

from tests.survey.calls import lax_, numpy_, scipy_

CALLS = [*numpy_.CALLS, *lax_.CALLS, *scipy_.CALLS]

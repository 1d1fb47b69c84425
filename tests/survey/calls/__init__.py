"""The table of calls, file by file."""

from tests.survey.calls import corners_, lax_, numpy_, scipy_

CALLS = [*numpy_.CALLS, *lax_.CALLS, *scipy_.CALLS, *corners_.CALLS]

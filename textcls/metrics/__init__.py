"""Numbers from arrays: how good predictions are, how certain that is, and how two runs compare. numpy only."""

"""Fast AUC with intervals, and blends of several models' predictions."""

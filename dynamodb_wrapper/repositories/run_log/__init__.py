"""The items and transactions of runs in ``pipeline_run_logs``."""

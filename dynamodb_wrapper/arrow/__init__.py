"""Items as Arrow columns and data frames, and back."""

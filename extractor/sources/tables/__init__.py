"""Photos in tables: Parquet and Lance."""

"""A cluster frozen at a moment: tables as Parquet files, and the Source that answers from them."""

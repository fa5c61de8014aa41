"""Freeze a cluster into evidence (tables as Parquet files), and open evidence as a Source."""

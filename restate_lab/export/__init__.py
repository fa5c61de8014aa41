"""Write frames and conversations for other programs: CSV, Parquet, JSON lines, xlsx, and spans over OTLP."""

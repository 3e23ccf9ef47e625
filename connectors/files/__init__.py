"""Tables in files: CSV, Excel, JSON lines, Avro, Parquet."""

//! Snapshots of lakehouse tables, Iceberg and Delta, and their restore to any place.

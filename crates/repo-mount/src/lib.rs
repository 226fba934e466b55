//! A snapshot as a file system and as an object store.

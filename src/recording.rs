//! The sound of one party, encrypted, on disk.

//! The contract of [`repo_store::Store`] on every kind of store, and what it does when one fails.

mod conformance;
mod failure;
mod local;
mod locks;

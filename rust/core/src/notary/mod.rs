//! The OCN Notary signature scheme: sign, verify, stash, rewrites, containers, policies.

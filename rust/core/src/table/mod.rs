//! Who is where: immutable snapshots of registry and platforms behind an atomic pointer.

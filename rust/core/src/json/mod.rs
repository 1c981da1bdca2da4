//! One pass over raw JSON bytes: leaves with their paths, in order; splice of one value in place.

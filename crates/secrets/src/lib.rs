//! Secret ids, patterns with exact overlap and intersection, and values that wipe themselves.

//! The relay as a whole.

//! Whether there is an emergency, and who is told.

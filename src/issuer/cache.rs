//! See the room's doc.
